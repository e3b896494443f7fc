// Target groups, and one of them with its targets.

import { code, address, filter, link, matching, pairs, section, status, table } from './parts.js';
import { brief, to } from './words.js';

const STATES = ['healthy', 'unhealthy', 'unused', 'initial', 'draining'];

export const targetPages = [
  {
    match: ([place, ...rest]) => (place === 'target-groups' && rest.length === 0 ? {} : null),
    live: () => ['target-groups'],
    title: () => 'Target groups',
    trail: () => [],
    content: ({ targetGroups }, { ui }) => section('Target groups', { note: `(${targetGroups.length})`, beside: filter(ui, 'find', 'Find target groups') },
      table('Target groups', {
        rows: matching(targetGroups, (of) => [of.targetGroupName], ui.get('find', '')),
        key: (of) => of.targetGroupArn,
        empty: 'No target groups',
        columns: [
          { head: 'Name', cell: (of) => link(to('target-groups', of.targetGroupName), of.targetGroupName) },
          { head: 'Port', cell: (of) => of.port, kind: 'number' },
          { head: 'Protocol', cell: (of) => of.protocol },
          { head: 'Target type', cell: (of) => of.targetType },
          { head: 'Load balancer', cell: (of) => [...new Set(of.listeners.map((at) => at.loadBalancerName))].join(', ') || 'None associated' },
          ...STATES.map((state) => ({ head: state[0].toUpperCase() + state.slice(1), cell: (of) => of.counts[state], kind: 'number' })),
        ],
      })),
  },
  {
    match: ([place, name, ...rest]) => (place === 'target-groups' && name && rest.length === 0 ? { name } : null),
    live: ({ name }) => ['target-groups', name],
    title: ({ name }) => name,
    trail: ({ name }) => [['Target groups', to('target-groups')], [name, to('target-groups', name)]],
    told,
    content: ({ targetGroup }, { ui }) => [overview(targetGroup), targets(targetGroup, ui), checks(targetGroup)],
  },
];

function told(before, after) {
  const [was, is] = [before.targetGroup.counts, after.targetGroup.counts];
  return was.healthy === is.healthy && was.unhealthy === is.unhealthy ? null : `${is.healthy} healthy, ${is.unhealthy} unhealthy targets.`;
}

function overview(group) {
  return section('Details', {}, pairs(
    ['Target type', group.targetType],
    ['Protocol: port', `${group.protocol}: ${group.port}`],
    ['VPC', code(group.vpcId)],
    ['Total targets', String(group.total)],
    ...STATES.map((state) => [state[0].toUpperCase() + state.slice(1), String(group.counts[state])]),
    ['Load balancer', group.listeners.map((at) => at.loadBalancerName).join(', ') || 'None associated'],
    ['Address', group.listeners.length > 0 && group.listeners.map((at) => address(at.url))],
    ['ARN', code(group.targetGroupArn)],
  ));
}

function targets(group, ui) {
  const found = matching(group.targets, (of) => [of.id, String(of.port), of.state, of.reason, of.task?.id], ui.get('find', ''));
  return section('Registered targets', { note: `(${found.length})`, beside: filter(ui, 'find', 'Find targets') },
    table('Registered targets', {
      rows: found,
      key: (of) => `${of.id} ${of.port}`,
      empty: 'No registered targets',
      columns: [
        { head: group.targetType === 'ip' ? 'IP address' : 'Instance ID', cell: (of) => code(of.id) },
        { head: 'Port', cell: (of) => of.port, kind: 'number' },
        { head: 'Health status', cell: (of) => status(of.state) },
        { head: 'Health status details', cell: (of) => [of.reason, of.description].filter(Boolean).join(': ') || '–', kind: 'wide' },
        { head: 'Task', cell: (of) => (of.task ? link(to('clusters', of.task.cluster, 'tasks', of.task.id), code(brief(of.task.id))) : '–') },
        { head: 'Group', cell: (of) => of.task?.group ?? '–' },
      ],
    }));
}

function checks({ healthCheck: check, attributes }) {
  return [
    section('Health check settings', {}, pairs(
      ['Protocol', check.protocol],
      ['Path', check.path && code(check.path)],
      ['Port', check.port],
      ['Healthy threshold', `${check.healthyThresholdCount} consecutive health check successes`],
      ['Unhealthy threshold', `${check.unhealthyThresholdCount} consecutive health check failures`],
      ['Timeout', `${check.timeoutSeconds} seconds`],
      ['Interval', `${check.intervalSeconds} seconds`],
      ['Success codes', check.matcher],
    )),
    section('Attributes', {}, table('Attributes', {
      rows: Object.entries(attributes),
      key: ([name]) => name,
      empty: 'All have their defaults',
      columns: [{ head: 'Name', cell: ([name]) => code(name) }, { head: 'Value', cell: ([, value]) => value }],
    })),
  ];
}
