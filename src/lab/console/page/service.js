// A service: Tasks, Events, Deployments, Details and Logs.

import { h } from './dom.js';
import { details } from './details.js';
import { logs } from './logs.js';
import {
  address, choice, code, filter, matching, pairs, revision, section, status, table, tabs, tasksOf, time,
} from './parts.js';
import { tasksTable } from './tasks.js';
import { isMoving, timeline } from './timeline.js';
import { count, duration, instant, isToday, precise, sentence, short, to } from './words.js';

const TABS = [['tasks', 'Tasks'], ['events', 'Events'], ['deployments', 'Deployments'], ['details', 'Details'], ['logs', 'Logs']];

export const servicePages = [
  {
    match: ([place, cluster, kind, name, tab = 'tasks', ...rest]) =>
      (place === 'clusters' && kind === 'services' && name && rest.length === 0 && TABS.some(([id]) => id === tab)
        ? { cluster, name, tab } : null),
    live: ({ cluster, name }) => ['clusters', cluster, 'services', name],
    logs: ({ tab }) => tab === 'logs',
    title: ({ name }) => name,
    trail: ({ cluster, name }) => [
      ['Clusters', to('clusters')],
      [cluster, to('clusters', cluster)],
      ['Services', to('clusters', cluster, 'services')],
      [name, to('clusters', cluster, 'services', name)],
    ],
    moves: (view, { tab }, now) => tab === 'deployments' && view.serviceDeployments?.some((of) => isMoving(of, view.tasks, now)),
    told,
    content: (view, context) => {
      const { cluster, name, tab } = context.names;
      const panels = {
        tasks: () => tasks(view, context),
        events: () => events(view, context),
        deployments: () => deployments(view, context),
        details: () => details(view),
        logs: () => logs(context, view.tasks),
      };
      return [
        overview(view),
        tabs('Service', TABS.map(([id, text]) => ({ id, name: text, content: panels[id] })), tab,
          (id) => context.go(to('clusters', cluster, 'services', name, id))),
      ];
    },
  },
];

/** What somebody who does not look is told: how a deployment goes, not each of its tasks. */
function told(before, after) {
  const primary = ({ service }) => service.deployments.find((of) => of.status === 'PRIMARY') ?? {};
  const [was, is] = [primary(before), primary(after)];
  if (is.id === was.id && is.rolloutState === was.rolloutState) {
    return null;
  }
  return `Deployment of ${short(is.taskDefinition)}: ${sentence(is.rolloutState)}. ${is.rolloutStateReason ?? ''}`;
}

function overview({ service, targetGroups }) {
  const primary = service.deployments.find((of) => of.status === 'PRIMARY') ?? service.deployments[0];
  const urls = targetGroups.flatMap((of) => of.listeners).filter((of) => of.weight > 0).map((of) => of.url);
  return section('Service overview', {}, pairs(
    ['Status', status(service.status)],
    ['Tasks', tasksOf(service), h('span', { class: 'why' }, `${service.desiredCount} Desired | ${service.pendingCount} Pending | ${service.runningCount} Running`)],
    ['Task definition: revision', revision(service.taskDefinition)],
    ['Deployment status', status(primary?.rolloutState), h('span', { class: 'why' }, primary?.rolloutStateReason)],
    ['Load balancer', urls.length > 0 && [...new Set(urls)].map(address)],
  ));
}

function tasks(view, { ui, names }) {
  const options = [['', 'Any desired status'], ['RUNNING', 'Running'], ['STOPPED', 'Stopped']];
  const wanted = ui.get('desired', '');
  const found = matching(view.tasks.filter((of) => wanted === '' || of.desiredStatus === wanted),
    (of) => [of.id, of.lastStatus, of.healthStatus, short(of.taskDefinitionArn), of.stoppedReason], ui.get('find', ''));
  const left = view.tasksTotal - view.tasks.length;
  return section('Tasks', {
    note: `(${found.length})`,
    beside: h('div', { class: 'fields' }, filter(ui, 'find', 'Find tasks'), choice(ui, 'desired', 'Filter desired status', options)),
  },
  tasksTable(found, names.cluster, { targets: true }),
  left > 0 && h('p', { class: 'note' }, `${count(left, 'older task is', 'older tasks are')} not shown.`));
}

function events({ service }, { ui }) {
  const found = matching(service.events, (of) => [of.message], ui.get('events', ''));
  return section('Events', { note: `(${found.length})`, beside: filter(ui, 'events', 'Find events') },
    table('Events', {
      rows: found,
      key: (of) => of.id,
      empty: 'No events',
      columns: [
        { head: 'Started at', cell: (of) => time(of.createdAt, isToday(of.createdAt) ? precise : instant) },
        { head: 'Message', cell: (of) => of.message, kind: 'wide' },
        { head: 'Event ID', cell: (of) => code(of.id), kind: 'faint' },
      ],
    }));
}

function deployments(view, context) {
  const { service, serviceDeployments } = view;
  return [
    section('Deployments', { note: `(${service.deployments.length})` }, table('Deployments', {
      rows: service.deployments,
      key: (of) => of.id,
      empty: 'No deployments',
      columns: [
        { head: 'Deployment ID', cell: (of) => code(of.id) },
        { head: 'Status', cell: (of) => sentence(of.status) },
        { head: 'Rollout state', cell: (of) => [status(of.rolloutState), h('span', { class: 'why' }, of.rolloutStateReason)] },
        { head: 'Task definition', cell: (of) => revision(of.taskDefinition) },
        { head: 'Desired', cell: (of) => of.desiredCount, kind: 'number' },
        { head: 'Pending', cell: (of) => of.pendingCount, kind: 'number' },
        { head: 'Running', cell: (of) => of.runningCount, kind: 'number' },
        { head: 'Failed tasks', cell: (of) => of.failedTasks, kind: 'number' },
        { head: 'Created at', cell: (of) => time(of.createdAt) },
        { head: 'Updated at', cell: (of) => time(of.updatedAt) },
      ],
    })),
    section('Service deployments', { note: `(${serviceDeployments.length})` },
      serviceDeployments.map((of, at) => history(of, at === 0, view, context)),
      serviceDeployments.length === 0 && h('p', { class: 'empty' }, 'No service deployments')),
  ];
}

/** One service deployment; the newest is open. */
function history(of, open, view, context) {
  const breaker = of.deploymentCircuitBreaker;
  const share = (revision) => (revision.requestedProductionTrafficWeight == null ? null : `${revision.requestedProductionTrafficWeight}%`);
  const took = of.finishedAt && duration(of.finishedAt - of.createdAt);
  return h(
    'details',
    { key: of.serviceDeploymentArn, class: 'history', open },
    h('summary', {}, status(of.status), h('span', { class: 'what' }, short(of.taskDefinition)), time(of.createdAt), took && h('span', {}, took)),
    pairs(
      ['Service deployment ID', code(short(of.serviceDeploymentArn))],
      ['Deployment ID', code(of.deploymentId)],
      ['Status reason', of.statusReason],
      ['Target revision', revision(of.taskDefinition), h('span', { class: 'why' }, progress(of.targetServiceRevision))],
      ['Production traffic', share(of.targetServiceRevision)],
      ['Lifecycle stage', of.lifecycleStage && sentence(of.lifecycleStage)],
      ['Lifecycle hooks', of.lifecycleHookDetails?.map((hook) => h('span', { key: hook.hookId, class: 'health' },
        status(hook.status), h('span', { class: 'why' }, `${hook.targetType} ${hook.hookId}`)))],
      ['Deployment circuit breaker', `${sentence(breaker.status)} (${breaker.failureCount} of ${breaker.threshold} failed tasks)`],
      ['Rollback', of.rollback && [h('span', {}, of.rollback.reason), h('span', { class: 'why' }, `to ${short(of.rollbackTaskDefinition ?? of.rollback.serviceRevisionArn)}`)]],
      ['Started at', time(of.startedAt)],
      ['Finished at', of.finishedAt && time(of.finishedAt)],
    ),
    timeline(of, view.tasks, context),
  );
}

function progress({ requestedTaskCount, pendingTaskCount, runningTaskCount }) {
  return `${requestedTaskCount} Requested | ${pendingTaskCount} Pending | ${runningTaskCount} Running`;
}

