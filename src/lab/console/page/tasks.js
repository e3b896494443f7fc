// Tasks in a table, and one of them with its containers.

import { h } from './dom.js';
import { logs } from './logs.js';
import { code, groupLink, health, link, pairs, revision, section, status, table, tabs, time } from './parts.js';
import { definition } from './details.js';
import { brief, duration, sentence, short, to } from './words.js';

const TABS = [['configuration', 'Configuration'], ['logs', 'Logs']];

export const taskPages = [
  {
    match: ([place, cluster, kind, id, tab = 'configuration', ...rest]) =>
      (place === 'clusters' && kind === 'tasks' && id && rest.length === 0 && TABS.some(([of]) => of === tab)
        ? { cluster, id, tab } : null),
    live: ({ cluster, id }) => ['clusters', cluster, 'tasks', id],
    logs: ({ tab }) => tab === 'logs',
    title: ({ id }) => id,
    trail: ({ cluster, id }) => [
      ['Clusters', to('clusters')],
      [cluster, to('clusters', cluster)],
      ['Tasks', to('clusters', cluster, 'tasks')],
      [brief(id), to('clusters', cluster, 'tasks', id)],
    ],
    told: (before, after) => (before.task.lastStatus === after.task.lastStatus ? null
      : `Task ${brief(after.task.id)} is ${sentence(after.task.lastStatus).toLowerCase()}.`),
    content: (view, context) => {
      const { cluster, id, tab } = context.names;
      const panels = { configuration: () => configuration(view), logs: () => logs(context, [view.task]) };
      return [
        overview(view.task, cluster),
        tabs('Task', TABS.map(([of, name]) => ({ id: of, name, content: panels[of] })), tab,
          (of) => context.go(to('clusters', cluster, 'tasks', id, of))),
      ];
    },
  },
];

/** The service of a task, where it has one. */
export function owner(task, cluster) {
  const name = task.group.startsWith('service:') ? task.group.slice('service:'.length) : null;
  return name ? link(to('clusters', cluster, 'services', name), name) : task.group;
}

export function tasksTable(tasks, cluster, { group = false, targets = false } = {}) {
  const columns = [
    { head: 'Task', cell: (of) => link(to('clusters', cluster, 'tasks', of.id), code(brief(of.id))) },
    { head: 'Last status', cell: (of) => status(of.lastStatus) },
    { head: 'Desired status', cell: (of) => sentence(of.desiredStatus) },
    { head: 'Task definition', cell: (of) => revision(of.taskDefinitionArn) },
    { head: 'Health status', cell: (of) => status(of.healthStatus) },
    group && { head: 'Group', cell: (of) => owner(of, cluster) },
    targets && { head: 'Target health', cell: (of) => (of.targets.length > 0 ? of.targets.map(targetHealth) : '–') },
    { head: 'Created at', cell: (of) => time(of.createdAt) },
    { head: 'Stopped reason', cell: stopped, kind: 'wide' },
  ];
  return table('Tasks', { rows: tasks, key: (of) => of.id, empty: 'No tasks', columns: columns.filter(Boolean) });
}

/** Why a target is not healthy; that one is draining says enough. */
function targetHealth(target) {
  return health(target.state === 'draining' ? { ...target, reason: null, description: null } : target);
}

/** Why a task stopped, and its containers with it. */
function stopped(task) {
  const reasons = task.containers.filter((of) => of.reason || of.exitCode > 0).map((of) => ended(of));
  return [task.stoppedReason, ...reasons].filter(Boolean).join(' | ') || '–';
}

function ended(container) {
  const code = container.exitCode == null ? null : `exit code ${container.exitCode}`;
  return `${container.name}: ${[container.reason, code].filter(Boolean).join(', ')}`;
}

function overview(task, cluster) {
  return section('Task overview', {}, pairs(
    ['Last status', status(task.lastStatus)],
    ['Desired status', sentence(task.desiredStatus)],
    ['Health status', status(task.healthStatus)],
    ['Group', owner(task, cluster)],
    ['Task definition', revision(task.taskDefinitionArn)],
    ['Started by', task.startedBy && code(task.startedBy)],
    ['Created at', time(task.createdAt)],
    ['Started at', time(task.startedAt)],
    ['Stopped at', task.stoppedAt && time(task.stoppedAt)],
    ['Stop code', task.stopCode],
    ['Stopped reason', task.stoppedReason],
  ));
}

function configuration({ task, taskDefinition, logs: places }) {
  const interfaces = task.attachments.flatMap((of) => of.details);
  const detail = (name) => interfaces.find((of) => of.name === name)?.value;
  const place = (name) => places.find((of) => of.containerName === name);
  const since = (at) => (at == null ? null : duration(at - task.createdAt));
  return [
    section('Containers', { note: `(${task.containers.length})` }, table('Containers', {
      rows: task.containers,
      key: (of) => of.name,
      empty: 'No containers',
      columns: [
        { head: 'Container name', cell: (of) => of.name },
        { head: 'Status', cell: (of) => status(of.lastStatus) },
        { head: 'Health status', cell: (of) => status(of.healthStatus) },
        { head: 'Exit code', cell: (of) => of.exitCode ?? '–', kind: 'number' },
        { head: 'Reason', cell: (of) => of.reason ?? '–', kind: 'wide' },
        { head: 'Image digest', cell: (of) => (of.imageDigest ? code(of.imageDigest) : '–'), kind: 'wide' },
        { head: 'Ports', cell: (of) => of.networkBindings.map((at) => `${at.hostPort} → ${at.containerPort}/${at.protocol}`).join(', ') || '–' },
        { head: 'Log stream', cell: (of) => (place(of.name) ? code(`${place(of.name).logGroup} ${place(of.name).logStream}`) : '–'), kind: 'wide' },
      ],
    })),
    task.targets.length > 0 && section('Load balancer health', {}, table('Load balancer health', {
      rows: task.targets,
      key: (of) => `${of.targetGroupName} ${of.id} ${of.port}`,
      empty: '',
      columns: [
        { head: 'Target group', cell: (of) => groupLink(of.targetGroupName) },
        { head: 'Target', cell: (of) => code(`${of.id}:${of.port}`) },
        { head: 'Health status', cell: health },
      ],
    })),
    section('Configuration', {}, pairs(
      ['Launch type', task.launchType],
      ['CPU | Memory', `${task.cpu} units | ${task.memory} MiB`],
      ['Platform version', task.platformVersion],
      ['Container instance', task.containerInstanceArn && code(short(task.containerInstanceArn))],
      ['Private IP', detail('privateIPv4Address') && code(detail('privateIPv4Address'))],
      ['Subnet', detail('subnetId') && code(detail('subnetId'))],
      ['ENI', detail('networkInterfaceId') && code(detail('networkInterfaceId'))],
      ['Pull started after', since(task.pullStartedAt)],
      ['Pull stopped after', since(task.pullStoppedAt)],
      ['Started after', since(task.startedAt)],
      ['Healthy after', since(task.healthyAt)],
      ['ARN', code(task.taskArn)],
    )),
    taskDefinition && definition(taskDefinition),
  ];
}
