// What the pages are made of.

import { h } from './dom.js';
import { instant, iso, sentence, short, to, tone } from './words.js';

const SIGNS = { good: '✓', bad: '✕', busy: '◔', warned: '■', plain: '–' };

/** A status with its sign, so that colour says nothing alone. */
export function status(word, text = sentence(word)) {
  if (!word) {
    return '–';
  }
  const kind = tone(word);
  return h('span', { class: `status ${kind}` }, h('span', { class: 'sign', 'aria-hidden': 'true' }, SIGNS[kind]), text);
}

export function link(href, ...text) {
  return h('a', { href }, ...text);
}

export function time(seconds, words = instant) {
  return seconds == null ? '–' : h('time', { datetime: iso(seconds), title: iso(seconds) }, words(seconds));
}

/** A task definition's family and revision. */
export function revision(arn) {
  return h('span', { title: arn }, short(arn) || '–');
}

/** An address on this machine, which opens beside the console. */
export function address(url) {
  return h('a', { href: url, target: '_blank', rel: 'noreferrer noopener' }, url);
}

export function code(...text) {
  return h('code', {}, ...text);
}

/** A part of a page with its heading; `beside` stands at the heading's end. */
export function section(title, { beside, note, key } = {}, ...content) {
  const id = `section-${key ?? title.replaceAll(/\W+/g, '-').toLowerCase()}`;
  return h(
    'section',
    { key: id, 'aria-labelledby': id, class: 'box' },
    h('div', { class: 'box-head' }, h('h2', { id }, title), note && h('p', { class: 'note' }, note), beside),
    ...content,
  );
}

/** Pairs of a name and what it stands for. */
export function pairs(...entries) {
  const shown = entries.filter((entry) => entry && entry[1] != null && entry[1] !== false);
  return h(
    'dl',
    { class: 'pairs' },
    shown.map(([name, ...value]) => h('div', { key: name }, h('dt', {}, name), h('dd', {}, ...value))),
  );
}

/** A table; each column has a `head` and a `cell` of a row, rows are told apart by `key`. */
export function table(caption, { columns, rows, key, empty }) {
  const body = rows.map((row) =>
    h('tr', { key: key(row) }, columns.map(({ head, cell, kind }, at) =>
      at === 0
        ? h('th', { scope: 'row', key: head, class: kind }, cell(row))
        : h('td', { key: head, class: kind }, cell(row)))));
  return h(
    'div',
    { class: 'scroll', role: 'region', 'aria-label': caption, tabindex: '0', key: caption },
    h(
      'table',
      {},
      h('caption', { class: 'unseen' }, caption),
      h('thead', {}, h('tr', {}, columns.map(({ head, kind }) => h('th', { scope: 'col', key: head, class: kind }, head)))),
      h('tbody', {}, body),
    ),
    rows.length === 0 && h('p', { class: 'empty' }, empty),
  );
}

/** Rows whose words hold what is looked for. */
export function matching(rows, words, wanted) {
  const needles = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) => {
    const text = words(row).join(' ').toLowerCase();
    return needles.every((needle) => text.includes(needle));
  });
}

/** A field that narrows a list down. */
export function filter(ui, name, label) {
  const typed = (event) => ui.set(name, event.target.value);
  return h(
    'label',
    { class: 'field', key: name },
    h('span', { class: 'unseen' }, label),
    h('input', { type: 'search', placeholder: label, oninput: typed, value: ui.get(name, ''), spellcheck: 'false', autocomplete: 'off' }),
  );
}

/** A choice among few; `options` are pairs of a value and its text. */
export function choice(ui, name, label, options) {
  const chosen = ui.get(name, options[0][0]);
  const choose = (event) => ui.set(name, event.target.value);
  return h(
    'label',
    { class: 'field', key: name },
    h('span', {}, label),
    h('select', { onchange: choose }, options.map(([value, text]) =>
      h('option', { value, key: value, selected: value === chosen }, text))),
  );
}

/** Tabs as the WAI-ARIA pattern has them: one of them in the order of the Tab key, arrows between them. */
export function tabs(label, items, chosen, choose) {
  const at = items.findIndex((item) => item.id === chosen);
  const move = (event) => {
    const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: items.length - 1 };
    if (event.key in steps) {
      event.preventDefault();
      const next = items[(steps[event.key] + items.length) % items.length];
      choose(next.id);
      document.getElementById(`tab-${next.id}`)?.focus();
    }
  };
  const tab = ({ id, name }) =>
    h('button', {
      key: id,
      id: `tab-${id}`,
      type: 'button',
      role: 'tab',
      'aria-selected': String(id === chosen),
      'aria-controls': id === chosen ? `panel-${id}` : null,
      tabindex: id === chosen ? '0' : '-1',
      onclick: () => choose(id),
    }, name);
  return [
    h('div', { key: 'tabs', class: 'tabs', role: 'tablist', 'aria-label': label, onkeydown: move }, items.map(tab)),
    h(
      'div',
      { key: 'panel', id: `panel-${chosen}`, class: 'panel', role: 'tabpanel', 'aria-labelledby': `tab-${chosen}`, tabindex: '0' },
      h('div', { key: chosen, class: 'panel-body' }, items[at].content()),
    ),
  ];
}

/** How far the tasks are that a service wants. */
export function tasksOf({ desiredCount, pendingCount, runningCount }) {
  const share = (number) => (desiredCount > 0 ? Math.min(100, (100 * number) / desiredCount) : 0);
  const [running, pending] = [share(runningCount), share(pendingCount)];
  return h(
    'span',
    { class: 'gauge' },
    h(
      'svg',
      { class: 'bar', 'aria-hidden': 'true' },
      h('rect', { class: 'running', x: '0', width: `${running}%`, height: '100%' }),
      h('rect', { class: 'pending', x: `${running}%`, width: `${Math.min(pending, 100 - running)}%`, height: '100%' }),
    ),
    h('span', {}, `${runningCount}/${desiredCount} running${pendingCount > 0 ? `, ${pendingCount} pending` : ''}`),
  );
}

/** A target's state with its reason. */
export function health(target) {
  const why = [target.reason, target.description].filter(Boolean);
  return h(
    'span',
    { key: `${target.targetGroupName} ${target.id} ${target.port}`, class: 'health' },
    status(target.state, sentence(target.state)),
    why.length > 0 && h('span', { class: 'why' }, why.join(': ')),
  );
}

export function groupLink(name) {
  return name ? link(to('target-groups', name), name) : '–';
}
