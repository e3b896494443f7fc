// How the console says what the APIs say.

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const stopwatch = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** `IN_PROGRESS` as people read it: `In progress`. */
export function sentence(word) {
  const text = String(word ?? '').replaceAll('_', ' ').toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The last part of an ARN. */
export function short(arn) {
  return String(arn ?? '').split('/').pop();
}

/** A task's id as the console shortens it. */
export function brief(id) {
  return String(id ?? '').slice(0, 8);
}

/** An instant, from seconds since 1970; today needs no date. */
export function instant(seconds) {
  return (isToday(seconds) ? clock : calendar).format(new Date(seconds * 1000));
}

export function isToday(seconds) {
  return new Date(seconds * 1000).toDateString() === new Date().toDateString();
}

/** An instant of today where many things happen within a second. */
export function precise(seconds) {
  return stopwatch.format(new Date(seconds * 1000));
}

export function iso(seconds) {
  return new Date(seconds * 1000).toISOString();
}

/** A length of time, from seconds. */
export function duration(seconds) {
  if (seconds < 0.9995) {
    return `${Math.round(seconds * 1000)} ms`;
  }
  if (seconds < 60) {
    return `${trim(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min ${Math.floor(seconds % 60)} s`;
  }
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A number without the zeros after its point. */
export function trim(number) {
  return number.includes('.') ? number.replace(/\.?0+$/, '') : number;
}

export function bytes(count) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let at = 0;
  let size = count;
  while (size >= 1000 && at < units.length - 1) {
    size /= 1000;
    at += 1;
  }
  return `${at === 0 ? size : trim(size.toFixed(2))} ${units[at]}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** Where in the console something is. */
export function to(...segments) {
  return `#/${segments.map(encodeURIComponent).join('/')}`;
}

const TONES = {
  good: ['ACTIVE', 'RUNNING', 'COMPLETED', 'SUCCESSFUL', 'HEALTHY', 'SUCCEEDED', 'CONTINUE', 'MONITORING_COMPLETE'],
  bad: ['FAILED', 'UNHEALTHY', 'ROLLBACK_FAILED', 'TRIGGERED', 'TIMED_OUT'],
  busy: [
    'IN_PROGRESS', 'PENDING', 'PROVISIONING', 'ACTIVATING', 'DEACTIVATING', 'STOPPING', 'DEPROVISIONING', 'INITIAL',
    'DRAINING', 'ROLLBACK_REQUESTED', 'ROLLBACK_IN_PROGRESS', 'STOP_REQUESTED', 'AWAITING_ACTION',
  ],
  warned: ['ROLLBACK_SUCCESSFUL', 'STOPPED'],
};

/** Whether a status is good, bad, busy or neither. */
export function tone(status) {
  const word = String(status ?? '').toUpperCase();
  return Object.keys(TONES).find((name) => TONES[name].includes(word)) ?? 'plain';
}
