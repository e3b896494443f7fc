// The tail of containers' logs.

import { h } from './dom.js';
import { choice, filter, link, matching, section } from './parts.js';
import { brief, iso, precise, to } from './words.js';

/** Lines that are kept on the page. */
const MOST = 1000;
/** A reader who is this near to the end, in pixels, wants to stay there. */
const NEAR = 40;

export function noLines() {
  return { known: false, skipped: 0, count: 0, list: [] };
}

/** What came is added to what was there; a new connection begins anew. */
export function addLines(before, { first, skipped, lines }) {
  const { count, list } = first ? noLines() : before;
  const numbered = lines.map((line, at) => ({ ...line, number: count + at }));
  return {
    known: true,
    skipped: (first ? 0 : before.skipped) + skipped,
    count: count + lines.length,
    list: [...list, ...numbered].slice(-MOST),
  };
}

export function logs({ lines, ui, names }, tasks) {
  const written = [...new Set(lines.list.map((of) => of.task))];
  const known = tasks.map((of) => of.id).filter((id) => written.includes(id));
  const containers = [...new Set(tasks.flatMap((of) => of.containers.map((one) => one.name)))];
  const [task, container] = [ui.get('task', ''), ui.get('container', '')];
  const chosen = lines.list.filter((of) => (task === '' || of.task === task) && (container === '' || of.container === container));
  const found = matching(chosen, (of) => [of.message], ui.get('lines', ''));
  const fields = [
    filter(ui, 'lines', 'Find in log lines'),
    known.length > 1 && choice(ui, 'task', 'Task', [['', 'All tasks'], ...known.map((id) => [id, brief(id)])]),
    containers.length > 1 && choice(ui, 'container', 'Container', [['', 'All containers'], ...containers.map((name) => [name, name])]),
  ];
  return section('Logs', { note: `(${found.length})`, beside: h('div', { class: 'fields' }, fields) },
    lines.skipped > 0 && h('p', { class: 'note' }, `${lines.skipped} earlier lines are not shown.`),
    tail(found, names, lines.known));
}

function tail(found, { cluster }, known) {
  stay();
  const line = ({ number, timestamp, task, message }) => h(
    'li',
    { key: number },
    h('time', { datetime: iso(timestamp / 1000) }, precise(timestamp / 1000)),
    link(to('clusters', cluster, 'tasks', task), brief(task)),
    h('span', { class: 'message' }, message),
  );
  return h(
    'div',
    { id: 'tail', class: 'tail', role: 'log', 'aria-label': 'Log lines', 'aria-live': 'off', tabindex: '0' },
    h('ol', {}, found.map(line)),
    found.length === 0 && h('p', { class: 'empty' }, known ? 'No log lines' : 'Loading…'),
  );
}

/** Whoever reads the end goes on doing so; whoever has scrolled up stays there. */
function stay() {
  const box = document.getElementById('tail');
  if (!box || box.scrollHeight - box.scrollTop - box.clientHeight < NEAR) {
    requestAnimationFrame(() => {
      const now = document.getElementById('tail');
      now?.scrollTo(0, now.scrollHeight);
    });
  }
}
