// A service's details, and a task definition's.

import { h } from './dom.js';
import { code, groupLink, pairs, revision, section, table, time } from './parts.js';
import { sentence, short } from './words.js';

export function details({ service, taskDefinition, targetGroups }) {
  const configuration = service.deploymentConfiguration;
  const breaker = configuration.deploymentCircuitBreaker;
  const network = service.networkConfiguration?.awsvpcConfiguration;
  const group = (arn) => targetGroups.find((of) => of.targetGroupArn === arn)?.targetGroupName;
  const traffic = configuration.canaryConfiguration ?? configuration.linearConfiguration;
  return [
    section('Service configuration', {}, pairs(
      ['ARN', code(service.serviceArn)],
      ['Task definition: revision', revision(service.taskDefinition)],
      ['Service type', service.schedulingStrategy],
      ['Launch type', service.launchType],
      ['Capacity provider strategy', service.capacityProviderStrategy?.map((of) => `${of.capacityProvider} (base ${of.base ?? 0}, weight ${of.weight ?? 0})`).join(', ')],
      ['Platform version', service.platformVersion],
      ['Created by', service.createdBy],
      ['Created at', time(service.createdAt)],
      ['Service role', service.roleArn && short(service.roleArn)],
      ['Health check grace period', service.healthCheckGracePeriodSeconds != null && `${service.healthCheckGracePeriodSeconds} seconds`],
      ['ECS Exec', service.enableExecuteCommand ? 'Turned on' : 'Turned off'],
    )),
    section('Deployment configuration', {}, pairs(
      ['Deployment strategy', sentence(configuration.strategy)],
      ['Deployment controller', service.deploymentController.type],
      ['Min and max running tasks', `${configuration.minimumHealthyPercent}% min and ${configuration.maximumPercent}% max`],
      ['Deployment circuit breaker', breaker.enable ? `Turned on, rollback ${breaker.rollback ? 'on' : 'off'} failures` : 'Turned off'],
      ['Bake time', configuration.bakeTimeInMinutes > 0 && `${configuration.bakeTimeInMinutes} minutes`],
      ['Traffic shift', traffic && Object.entries(traffic).map(([name, value]) => `${name} ${value}`).join(', ')],
      ['Lifecycle hooks', configuration.lifecycleHooks?.map((of) => `${of.targetType ?? 'AWS_LAMBDA'} at ${of.lifecycleStages?.join(', ')}`).join(' | ')],
    )),
    section('Network configuration', {},
      network && pairs(
        ['Subnets', network.subnets?.join(', ')],
        ['Security groups', network.securityGroups?.join(', ') || 'Default'],
        ['Auto-assign public IP', sentence(network.assignPublicIp ?? 'DISABLED')],
      ),
      table('Load balancers', {
        rows: service.loadBalancers,
        key: (of) => `${of.targetGroupArn} ${of.containerName} ${of.containerPort}`,
        empty: 'No load balancers',
        columns: [
          { head: 'Target group', cell: (of) => groupLink(group(of.targetGroupArn)) },
          { head: 'Container: port', cell: (of) => `${of.containerName}:${of.containerPort}` },
          { head: 'Alternate target group', cell: (of) => groupLink(group(of.advancedConfiguration?.alternateTargetGroupArn)) },
        ],
      })),
    taskDefinition && definition(taskDefinition),
    service.tags?.length > 0 && section('Tags', {}, table('Tags', {
      rows: service.tags,
      key: (of) => of.key,
      empty: '',
      columns: [{ head: 'Key', cell: (of) => of.key }, { head: 'Value', cell: (of) => of.value }],
    })),
  ];
}

/** Values of environment variables stay in the lab: they may be secrets. */
export function definition(of) {
  const variables = of.containerDefinitions.flatMap((container) => [
    ...container.environment.map((name) => ({ container: container.name, name, kind: 'Environment', value: 'not shown' })),
    ...(container.secrets ?? []).map(({ name, valueFrom }) => ({ container: container.name, name, kind: 'Secret', value: valueFrom })),
  ]);
  return [
    section(`Task definition ${of.family}:${of.revision}`, { key: 'definition' },
      pairs(
        ['Network mode', of.networkMode ?? 'bridge'],
        ['Task CPU | memory', of.cpu && `${of.cpu} | ${of.memory}`],
        ['Task role', of.taskRoleArn && short(of.taskRoleArn)],
        ['Task execution role', of.executionRoleArn && short(of.executionRoleArn)],
        ['Registered at', of.registeredAt && time(of.registeredAt)],
      ),
      table('Container definitions', {
        rows: of.containerDefinitions,
        key: (container) => container.name,
        empty: '',
        columns: [
          { head: 'Container', cell: (container) => container.name },
          { head: 'Image', cell: (container) => code(container.image), kind: 'wide' },
          { head: 'Essential', cell: (container) => (container.essential === false ? 'No' : 'Yes') },
          { head: 'CPU', cell: (container) => container.cpu ?? 0, kind: 'number' },
          { head: 'Memory hard/soft', cell: (container) => `${container.memory ?? '–'} / ${container.memoryReservation ?? '–'} MiB`, kind: 'number' },
          { head: 'Port mappings', cell: (container) => (container.portMappings ?? []).map((port) => `${port.hostPort ?? 0}:${port.containerPort}/${port.protocol ?? 'tcp'}`).join(', ') || '–' },
          { head: 'Health check', cell: (container) => (container.hasHealthCheck ? 'Yes' : 'No') },
          { head: 'Log driver', cell: (container) => container.logDriver ?? '–' },
        ],
      })),
    variables.length > 0 && section('Environment variables', { key: 'environment' }, table('Environment variables', {
      rows: variables,
      key: (variable) => `${variable.container} ${variable.kind} ${variable.name}`,
      empty: '',
      columns: [
        { head: 'Key', cell: (variable) => code(variable.name) },
        { head: 'Type', cell: (variable) => variable.kind },
        { head: 'Value or value from', cell: ({ kind, value }) => (kind === 'Secret' ? code(value) : h('span', { class: 'note' }, value)), kind: 'wide' },
        { head: 'Container', cell: (variable) => variable.container },
      ],
    })),
  ];
}
