// The console: which page the address names, the one connection that keeps it up to date, and what is drawn of it.

import { h, patch } from './dom.js';
import { clusterPages } from './clusters.js';
import { servicePages } from './service.js';
import { taskPages } from './tasks.js';
import { targetPages } from './targets.js';
import { repositoryPages } from './repositories.js';
import { addLines, noLines } from './logs.js';
import { instant, sentence, to } from './words.js';

const PAGES = [...clusterPages, ...servicePages, ...taskPages, ...targetPages, ...repositoryPages];
const PLACES = [
  ['clusters', 'Clusters'],
  ['target-groups', 'Target groups'],
  ['repositories', 'Repositories'],
];

const stateless = { view: null, lines: noLines() };
const state = { page: null, lab: null, connection: 'connecting', source: null, choices: new Map(), ...stateless };
const element = (id) => document.getElementById(id);
const calm = matchMedia('(prefers-reduced-motion: reduce)');

/** The page that the address names, with what is in its path. */
function located() {
  const segments = location.hash.replace(/^#\/?/, '').split('/').map(decoded);
  for (const page of PAGES) {
    const names = page.match(segments);
    if (names) {
      return { ...page, names, path: page.live(names), id: page.live(names).join('/') };
    }
  }
  return null;
}

function decoded(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function navigate() {
  const page = located();
  if (!page) {
    location.replace(to('clusters'));
    return;
  }
  const [before, same] = [state.page, state.page?.id === page.id];
  const streams = (of) => of && [of.id, Boolean(of.logs?.(of.names))].join();
  state.page = page;
  if (!same) {
    Object.assign(state, { view: null, lines: noLines(), choices: new Map() });
  }
  if (streams(before) !== streams(page)) {
    connect();
  }
  draw();
  if (before && !same) {
    scrollTo(0, 0);
    element('title')?.focus();
  }
}

/** One connection a page, and none for a page that nobody sees: browsers allow six to a host. */
function connect() {
  state.source?.close();
  state.source = null;
  if (document.hidden) {
    return;
  }
  const path = state.page.path.map(encodeURIComponent).join('/');
  const source = new EventSource(`live/${path}${state.page.logs?.(state.page.names) ? '?logs' : ''}`);
  state.source = source;
  const on = (name, take) => source.addEventListener(name, (event) => {
    if (source === state.source) {
      take(JSON.parse(event.data));
      schedule();
    }
  });
  on('lab', (lab) => {
    state.lab = { ...lab, ahead: lab.now - Date.now() };
    says('live');
  });
  on('view', (view) => {
    const told = state.view && !view.missing && state.page.told?.(state.view, view);
    if (told) {
      announce(told);
    }
    state.view = view;
  });
  on('lines', (lines) => {
    state.lines = addLines(state.lines, lines);
  });
  source.addEventListener('error', () => {
    if (source !== state.source) {
      return;
    }
    says('lost');
    schedule();
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(() => source === state.source && connect(), 1000);
    }
  });
}

function says(connection) {
  if (state.connection === 'lost' && connection === 'live') {
    announce('The lab answers again.');
  } else if (state.connection === 'live' && connection === 'lost') {
    announce('The lab does not answer. What is shown may be out of date.');
  }
  state.connection = connection;
}

function announce(text) {
  element('announcer').textContent = text;
}

let scheduled = false;
function schedule() {
  if (!scheduled) {
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      draw();
    });
  }
}

/** Seconds since 1970 by the lab's clock. */
function now() {
  return (Date.now() + (state.lab?.ahead ?? 0)) / 1000;
}

/** What a page may ask while it is drawn. */
function context() {
  return {
    names: state.page.names,
    lines: state.lines,
    now: now(),
    ui: {
      get: (name, standard) => state.choices.get(name) ?? standard,
      set: (name, value) => {
        state.choices.set(name, value);
        schedule();
      },
    },
    go: (href) => {
      history.replaceState(null, '', href);
      navigate();
    },
  };
}

function draw() {
  const { page, view, lab } = state;
  const title = page.title(page.names);
  document.title = `${title} | steady lab`;
  patch(element('lab'), lab ? [about(lab)] : []);
  patch(element('connection'), [connection()]);
  patch(element('places'), PLACES.map(([place, name]) =>
    h('li', { key: place }, h('a', { href: to(place), 'aria-current': place === page.path[0] ? 'page' : null }, name))));
  patch(element('main'), [
    crumbs(page),
    h('h1', { id: 'title', tabindex: '-1' }, title),
    h('div', { class: 'content', key: page.id, 'aria-busy': view ? null : 'true' }, content(page, view)),
  ]);
}

function content(page, view) {
  if (!view) {
    return h('p', { class: 'empty' }, state.connection === 'lost' ? 'The lab does not answer.' : 'Loading…');
  }
  if (view.missing) {
    return h('p', { class: 'empty' }, 'There is nothing by this name in the lab, or no longer.');
  }
  return page.content(view, context());
}

function crumbs(page) {
  const trail = page.trail(page.names);
  if (trail.length === 0) {
    return null;
  }
  return h('nav', { 'aria-label': 'Breadcrumbs', class: 'crumbs' }, h('ol', {}, trail.map(([name, href]) =>
    h('li', { key: href }, h('a', { href }, name)))));
}

function about(lab) {
  const runtime = lab.runtime ? `containers: ${lab.runtime}` : 'runs no containers';
  const words = [lab.region, `account ${lab.accountId}`, `${lab.pace} pace`, runtime];
  const title = [`steady ${lab.version}`, `since ${instant(lab.startedAt / 1000)}`, lab.warning].filter(Boolean);
  return h('span', { title: title.join('\n') }, words.join(' · '));
}

function connection() {
  const words = { live: 'Live', lost: 'Not connected', connecting: 'Connecting' };
  return h('span', { class: `link ${state.connection}` }, h('span', { 'aria-hidden': 'true', class: 'dot' }),
    words[state.connection] ?? sentence(state.connection));
}

addEventListener('hashchange', navigate);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    state.source?.close();
    state.source = null;
  } else if (state.page) {
    connect();
  }
});
element('skip').addEventListener('click', (event) => {
  event.preventDefault();
  element('main').focus();
});
// Time goes on where nothing else happens; what has just come to rest is drawn once more.
let moved = false;
setInterval(() => {
  const { page, view, connection: link } = state;
  const moves = link === 'live' && view && !document.hidden && page.moves?.(view, page.names, now());
  if (moves || moved) {
    schedule();
  }
  moved = moves;
}, calm.matches ? 1000 : 100);

if (!located()) {
  history.replaceState(null, '', to('clusters'));
}
navigate();
