// Repositories, and one of them with its images.

import { h } from './dom.js';
import { code, filter, link, matching, pairs, section, table, time } from './parts.js';
import { bytes, sentence, to } from './words.js';

export const repositoryPages = [
  {
    match: ([place, ...rest]) => (place === 'repositories' && rest.length === 0 ? {} : null),
    live: () => ['repositories'],
    title: () => 'Repositories',
    trail: () => [],
    content: ({ repositories }, { ui }) => section('Private repositories', { note: `(${repositories.length})`, beside: filter(ui, 'find', 'Find repositories') },
      table('Private repositories', {
        rows: matching(repositories, (of) => [of.repositoryName], ui.get('find', '')),
        key: (of) => of.repositoryName,
        empty: 'No repositories',
        columns: [
          { head: 'Repository name', cell: (of) => link(to('repositories', of.repositoryName), of.repositoryName) },
          { head: 'URI', cell: (of) => code(of.repositoryUri) },
          { head: 'Images', cell: (of) => of.imagesTotal, kind: 'number' },
          { head: 'Created at', cell: (of) => time(of.createdAt) },
          { head: 'Tag immutability', cell: (of) => sentence(of.imageTagMutability) },
        ],
      })),
  },
  {
    match: ([place, name, ...rest]) => (place === 'repositories' && name && rest.length === 0 ? { name } : null),
    live: ({ name }) => ['repositories', name],
    title: ({ name }) => name,
    trail: ({ name }) => [['Repositories', to('repositories')], [name, to('repositories', name)]],
    content: ({ repository, images }, { ui }) => {
      const found = matching(images, (of) => [...of.imageTags, of.imageDigest], ui.get('find', ''));
      return [
        section('Repository', {}, pairs(
          ['URI', code(repository.repositoryUri)],
          ['Images', String(repository.imagesTotal)],
          ['Tag immutability', sentence(repository.imageTagMutability)],
          ['Scan on push', repository.scanOnPush ? 'Turned on' : 'Turned off'],
          ['Created at', time(repository.createdAt)],
        )),
        section('Images', { note: `(${found.length})`, beside: filter(ui, 'find', 'Find images') }, table('Images', {
          rows: found,
          key: (of) => of.imageDigest,
          empty: 'No images',
          columns: [
            { head: 'Image tags', cell: (of) => tags(of) },
            { head: 'Type', cell: (of) => type(of) },
            { head: 'Pushed at', cell: (of) => time(of.imagePushedAt) },
            { head: 'Size', cell: (of) => bytes(of.imageSizeInBytes), kind: 'number' },
            { head: 'Digest', cell: (of) => code(of.imageDigest), kind: 'wide' },
          ],
        })),
      ];
    },
  },
];

function tags({ imageTags }) {
  return imageTags.length === 0 ? '–' : h('span', { class: 'tags' }, imageTags.map((tag) => h('span', { class: 'tag', key: tag }, tag)));
}

function type({ imageManifestMediaType, artifactMediaType, subjectManifestDigest }) {
  const index = /index|manifest\.list/.test(imageManifestMediaType);
  const name = index ? 'Image index' : /image|container/.test(artifactMediaType ?? 'image') ? 'Image' : 'Artifact';
  return h('span', { title: [imageManifestMediaType, artifactMediaType].filter(Boolean).join('\n') },
    subjectManifestDigest ? `${name} of ${subjectManifestDigest.slice(7, 19)}` : name);
}
