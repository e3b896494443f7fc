// A deployment's tasks over time, to scale: one row a task, one bar for each state it was in.

import { h } from './dom.js';
import { code, link, status, table } from './parts.js';
import { brief, count, duration, instant, sentence, short, to, trim } from './words.js';

/** States in their order: name, words, and the moment of a task at which it began. */
const PHASES = [
  ['provisioning', 'Provisioning', 'createdAt'],
  ['pending', 'Pending', 'pullStartedAt'],
  ['activating', 'Activating', 'pullStoppedAt'],
  ['running', 'Running, not healthy yet', 'startedAt'],
  ['healthy', 'Healthy', 'healthyAt'],
  ['draining', 'Deactivating (draining)', 'stoppingAt'],
  ['stopping', 'Stopping', 'drainedAt'],
  ['deprovisioning', 'Deprovisioning', 'executionStoppedAt'],
];
const OVER = ['SUCCESSFUL', 'STOPPED', 'ROLLBACK_SUCCESSFUL', 'ROLLBACK_FAILED'];
/** Rows that are drawn; the table has all. */
const MOST_ROWS = 80;
/** What comes right after the end is seen, too, such as that the last task is healthy now. */
const ROOM = 1.05;
const narrow = matchMedia('(max-width: 40rem)');

/** Whether a deployment's picture changes by time alone. */
export function isMoving(deployment, tasks, now) {
  return !OVER.includes(deployment.status) || now < model(deployment, tasks, now).until;
}

/** It began to stop while the deployment was under way, so that its end is a part of it. */
function isLeaving({ finishedAt = Infinity }, task) {
  return task.stoppingAt != null && task.stoppingAt <= finishedAt;
}

/** The tasks that were there while it was under way. */
function ours({ createdAt, deploymentId, finishedAt }, tasks, now) {
  const end = finishedAt ?? now;
  return tasks.filter((task) =>
    task.createdAt <= end && (task.startedBy === deploymentId || (task.stoppedAt ?? Infinity) > createdAt));
}

/** From when to when, and of each task its states within. */
export function model(deployment, tasks, now) {
  const shown = ours(deployment, tasks, now);
  const from = deployment.createdAt;
  const ends = shown.filter((task) => isLeaving(deployment, task)).map((task) => task.stoppedAt ?? now);
  const last = Math.max(deployment.finishedAt ?? now, ...ends);
  const until = from + Math.max(last - from, 0.001) * ROOM;
  const rows = shown.map((task) => ({ task, isNew: task.startedBy === deployment.deploymentId, bars: bars(task, from, until, now) }));
  rows.sort((one, other) => other.isNew - one.isNew || one.task.createdAt - other.task.createdAt);
  return { from, until, last, rows };
}

function bars(task, from, last, now) {
  const end = Math.min(task.stoppedAt ?? now, now);
  const began = PHASES.map(([phase, words, moment]) => ({ phase, words, at: task[moment] })).filter(({ at }) => at != null);
  const spans = began.map(({ phase, words, at }, index) => {
    // Who never ran has nothing to drain.
    const drains = phase !== 'draining' || task.startedAt != null;
    const until = began[index + 1]?.at ?? end;
    return { phase: drains ? phase : 'deprovisioning', words: drains ? words : 'Deprovisioning', began: at, ended: until,
      from: Math.max(at, from), until: Math.min(until, last) };
  });
  return spans.filter((span) => span.until > span.from);
}

/** Where the axis has its marks: round numbers of seconds. */
export function marks(length, most) {
  const rough = length / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const minutes = [15, 30, 60, 120, 300, 600, 1800, 3600, 7200];
  const step = rough > 10 ? minutes.find((size) => size >= rough) ?? 14400 : power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  return Array.from({ length: Math.floor(length / step) + 1 }, (_, at) => at * step);
}

function mark(seconds) {
  if (seconds >= 60 && seconds % 60 === 0) {
    return `${seconds / 60} min`;
  }
  return `${trim(seconds.toFixed(3))} s`;
}

export function timeline(deployment, tasks, { now, names }) {
  const drawn = model(deployment, tasks, now);
  const { from, until, rows } = drawn;
  const at = (moment) => (100 * (moment - from)) / (until - from);
  const axis = marks(until - from, narrow.matches ? 3 : 7);
  const id = `timeline-${short(deployment.serviceDeploymentArn)}`;
  if (rows.length === 0) {
    return h('p', { class: 'empty', key: id }, 'Its tasks are forgotten: ECS keeps stopped tasks for an hour.');
  }
  const lines = [
    ...axis.map((second) => ({ kind: 'grid', x: at(from + second) })),
    deployment.rollback && { kind: 'rollback', x: at(deployment.rollback.startedAt) },
    deployment.finishedAt && { kind: 'finished', x: at(deployment.finishedAt) },
  ].filter((line) => line && line.x >= 0 && line.x <= 100);
  const group = (isNew) => {
    const members = rows.slice(0, MOST_ROWS).filter((row) => row.isNew === isNew);
    const title = isNew ? `New: ${short(deployment.taskDefinition)}` : 'Other tasks of the service';
    return members.length > 0 && [
      h('p', { class: 'lane-group', key: title }, title),
      members.map((row) => lane(row, lines, at, names.cluster)),
    ];
  };
  return h(
    'figure',
    { class: 'timeline', key: id, 'aria-labelledby': id },
    h('figcaption', { id }, h('strong', {}, 'Timeline'), ' ', summary(deployment, drawn, now)),
    legend(rows, deployment),
    h('div', { class: 'lanes' }, group(true), group(false), h('div', { class: 'lane axis', 'aria-hidden': 'true' }, h('span', {}), ruler(axis, from, at))),
    rows.length > MOST_ROWS && h('p', { class: 'note' }, `${rows.length - MOST_ROWS} more are in the table.`),
    h('details', { class: 'as-table' }, h('summary', {}, 'Timeline as a table'), asTable(deployment, rows, names.cluster)),
  );
}

function lane({ task, bars: spans }, lines, at, cluster) {
  const words = ({ words: name, began, ended }) => `${name}: ${duration(ended - began)} from ${instant(began)}`;
  const failed = task.stopCode && !/^Scaling activity|^Service was deleted/.test(task.stoppedReason ?? '');
  const end = spans.at(-1);
  return h(
    'div',
    { class: 'lane', key: task.id },
    h('span', { class: 'who' }, link(to('clusters', cluster, 'tasks', task.id), code(brief(task.id))),
      h('span', { class: 'why' }, `${short(task.taskDefinitionArn)} ${sentence(task.lastStatus)}`)),
    h(
      'svg',
      { class: 'track', 'aria-hidden': 'true', 'data-task': task.id },
      lines.map(({ kind, x }) => h('line', { key: `${kind} ${x}`, class: kind, x1: `${x}%`, x2: `${x}%`, y1: '0', y2: '100%' })),
      spans.map((span) => h('rect', {
        key: span.phase, class: `span ${span.phase}`, x: `${at(span.from)}%`, width: `${at(span.until) - at(span.from)}%`,
      }, h('title', {}, words(span)))),
      failed && end && h('text', { class: 'failed', x: `${at(end.until)}%`, y: '50%', dx: '3' }, '✕', h('title', {}, task.stoppedReason)),
    ),
  );
}

function ruler(axis, from, at) {
  return h('svg', { class: 'ruler' }, axis.map((second) =>
    h('text', { key: second, x: `${at(from + second)}%`, y: '1em', class: second === 0 ? 'first' : null }, mark(second))));
}

function legend(rows, deployment) {
  const used = new Set(rows.flatMap((row) => row.bars.map((bar) => bar.phase)));
  const sample = (phase) => h('svg', { class: 'track sample', 'aria-hidden': 'true' }, h('rect', { class: `span ${phase}`, x: '0', width: '100%' }));
  const rule = (kind) => h('svg', { class: 'track sample', 'aria-hidden': 'true' }, h('line', { class: kind, x1: '50%', x2: '50%', y1: '0', y2: '100%' }));
  return h('ul', { class: 'legend' },
    PHASES.filter(([phase]) => used.has(phase)).map(([phase, words]) => h('li', { key: phase }, sample(phase), words)),
    deployment.rollback && h('li', { key: 'rollback' }, rule('rollback'), 'Rollback started'),
    deployment.finishedAt && h('li', { key: 'finished' }, rule('finished'), 'Deployment finished'));
}

/** The picture in a sentence. */
function summary(deployment, { from, last, rows }, now) {
  const fresh = rows.filter((row) => row.isNew);
  const healthy = fresh.map(({ task }) => task.healthyAt).filter((at) => at != null);
  const left = rows.filter((row) => !row.isNew && row.task.stoppingAt != null && row.task.stoppingAt <= last);
  const parts = [`${count(fresh.length, 'new task')} of ${short(deployment.taskDefinition)}`];
  if (healthy.length > 0) {
    parts.push(`${healthy.length} healthy, the last after ${duration(Math.max(...healthy) - from)}`);
  }
  if (left.length > 0) {
    parts.push(`${count(left.length, 'other task')} deregistered and stopped`);
  }
  const length = (deployment.finishedAt ?? now) - from;
  const verb = deployment.finishedAt ? `${sentence(deployment.status)} after` : 'under way for';
  return `${verb} ${duration(length)}: ${parts.join('; ')}. From ${instant(from)}.`;
}

function asTable(deployment, rows, cluster) {
  const since = (moment) => (moment == null ? '–' : `${moment < deployment.createdAt ? '−' : '+'}${duration(Math.abs(moment - deployment.createdAt))}`);
  const column = ([, words, moment]) => ({ head: words.replace(', not healthy yet', ''), cell: ({ task }) => since(task[moment]), kind: 'number' });
  return table('Timeline: when each task came to each state, from the deployment’s start', {
    rows,
    key: ({ task }) => task.id,
    empty: '',
    columns: [
      { head: 'Task', cell: ({ task }) => link(to('clusters', cluster, 'tasks', task.id), code(brief(task.id))) },
      { head: 'Task definition', cell: ({ task }) => short(task.taskDefinitionArn) },
      { head: 'Last status', cell: ({ task }) => status(task.lastStatus) },
      ...PHASES.map(column),
      { head: 'Stopped', cell: ({ task }) => since(task.stoppedAt), kind: 'number' },
      { head: 'Stopped reason', cell: ({ task }) => task.stoppedReason ?? '–', kind: 'wide' },
    ],
  });
}
