// Clusters, and one of them with its services, tasks and container instances.

import { h } from './dom.js';
import { choice, filter, link, matching, pairs, revision, section, status, table, tabs, tasksOf, time } from './parts.js';
import { tasksTable } from './tasks.js';
import { count, short, to } from './words.js';

const TABS = [['services', 'Services'], ['tasks', 'Tasks'], ['infrastructure', 'Infrastructure']];
const MOST_ROWS = 200;

export const clusterPages = [
  {
    match: ([place, ...rest]) => (place === 'clusters' && rest.length === 0 ? {} : null),
    live: () => ['clusters'],
    title: () => 'Clusters',
    trail: () => [],
    content: ({ clusters }, { ui }) => section('Clusters', { note: `(${clusters.length})`, beside: filter(ui, 'find', 'Find clusters') },
      table('Clusters', {
        rows: matching(clusters, (of) => [of.clusterName], ui.get('find', '')),
        key: (of) => of.clusterArn,
        empty: 'No clusters',
        columns: [
          { head: 'Cluster', cell: (of) => link(to('clusters', of.clusterName), of.clusterName) },
          { head: 'Status', cell: (of) => status(of.status) },
          { head: 'Services', cell: (of) => of.activeServicesCount, kind: 'number' },
          { head: 'Running tasks', cell: (of) => of.runningTasksCount, kind: 'number' },
          { head: 'Pending tasks', cell: (of) => of.pendingTasksCount, kind: 'number' },
          { head: 'Container instances', cell: (of) => of.registeredContainerInstancesCount, kind: 'number' },
        ],
      })),
  },
  {
    match: ([place, name, tab = 'services', ...rest]) =>
      (place === 'clusters' && name && rest.length === 0 && TABS.some(([id]) => id === tab) ? { name, tab } : null),
    live: ({ name }) => ['clusters', name],
    title: ({ name }) => name,
    trail: ({ name }) => [['Clusters', to('clusters')], [name, to('clusters', name)]],
    content: (view, context) => {
      const { name, tab } = context.names;
      const panels = { services: () => services(view, context), tasks: () => tasks(view, context), infrastructure: () => infrastructure(view) };
      return [
        section('Cluster overview', {}, pairs(
          ['Status', status(view.cluster.status)],
          ['Services', count(view.cluster.activeServicesCount, 'active service')],
          ['Tasks', `${view.cluster.pendingTasksCount} Pending | ${view.cluster.runningTasksCount} Running`],
          ['Container instances', String(view.cluster.registeredContainerInstancesCount)],
          ['ARN', h('code', {}, view.cluster.clusterArn)],
        )),
        tabs('Cluster', TABS.map(([id, text]) => ({ id, name: text, content: panels[id] })), tab,
          (id) => context.go(to('clusters', name, id))),
      ];
    },
  },
];

function services(view, { ui, names }) {
  const found = matching(view.services, (of) => [of.serviceName, of.status, of.rolloutState, short(of.taskDefinition)], ui.get('find', ''));
  const most = ui.get('most', MOST_ROWS);
  return section('Services', { note: `(${found.length})`, beside: filter(ui, 'find', 'Find services') },
    table('Services', {
      rows: found.slice(0, most),
      key: (of) => of.serviceName,
      empty: 'No services',
      columns: [
        { head: 'Service name', cell: (of) => link(to('clusters', names.name, 'services', of.serviceName), of.serviceName) },
        { head: 'Status', cell: (of) => status(of.status) },
        { head: 'Deployments and tasks', cell: tasksOf },
        { head: 'Last deployment', cell: (of) => h('span', { title: of.rolloutStateReason }, status(of.rolloutState)) },
        { head: 'Task definition', cell: (of) => revision(of.taskDefinition) },
        { head: 'Service type', cell: (of) => of.schedulingStrategy },
        { head: 'Launch type', cell: (of) => of.launchType },
        { head: 'Created at', cell: (of) => time(of.createdAt) },
      ],
    }),
    found.length > most && h('p', {}, h('button', { type: 'button', class: 'more', onclick: () => ui.set('most', most + 1000) },
      `Show more (${found.length - most} not shown)`)));
}

function tasks(view, { ui, names }) {
  const options = [['RUNNING', 'Running'], ['STOPPED', 'Stopped'], ['', 'Any desired status']];
  const wanted = ui.get('desired', 'RUNNING');
  const found = matching(view.tasks.filter((of) => wanted === '' || of.desiredStatus === wanted),
    (of) => [of.id, of.lastStatus, of.group, short(of.taskDefinitionArn), of.stoppedReason], ui.get('find', ''));
  const left = view.tasksTotal - view.tasks.length;
  return section('Tasks', {
    note: `(${found.length})`,
    beside: h('div', { class: 'fields' }, filter(ui, 'find', 'Find tasks'), choice(ui, 'desired', 'Filter desired status', options)),
  },
  tasksTable(found, names.name, { group: true }),
  left > 0 && h('p', { class: 'note' }, `${count(left, 'older task is', 'older tasks are')} not shown; a service lists its own.`));
}

function infrastructure(view) {
  const resource = (of, list, name) => of[list].find((one) => one.name === name)?.integerValue;
  const use = (of, name) => `${resource(of, 'remainingResources', name)} of ${resource(of, 'registeredResources', name)}`;
  return section('Container instances', { note: `(${view.containerInstances.length})` },
    table('Container instances', {
      rows: view.containerInstances,
      key: (of) => of.containerInstanceArn,
      empty: 'No container instances',
      columns: [
        { head: 'Container instance', cell: (of) => h('code', {}, short(of.containerInstanceArn)) },
        { head: 'EC2 instance', cell: (of) => h('code', {}, of.ec2InstanceId) },
        { head: 'Status', cell: (of) => status(of.status) },
        { head: 'Running tasks', cell: (of) => of.runningTasksCount, kind: 'number' },
        { head: 'Pending tasks', cell: (of) => of.pendingTasksCount, kind: 'number' },
        { head: 'CPU available', cell: (of) => use(of, 'CPU'), kind: 'number' },
        { head: 'Memory available', cell: (of) => `${use(of, 'MEMORY')} MiB`, kind: 'number' },
      ],
    }));
}
