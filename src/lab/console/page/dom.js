// Elements as values, and the change of a page from one to the next: what stays the same element keeps its focus,
// its scroll position and what was typed. Text only ever becomes text nodes and attributes.

const SVG = 'http://www.w3.org/2000/svg';
const known = new WeakMap();

/** An element; `key` among its properties tells it from its sisters. */
export function h(tag, properties, ...children) {
  const { key, ...rest } = properties ?? {};
  return { tag, key, properties: rest, children };
}

/** Makes the children of an element those that are given. */
export function patch(parent, children) {
  const wanted = children.flat(Infinity).filter((child) => child != null && child !== false && child !== '');
  const spare = new Map();
  const places = new Map();
  for (const node of parent.childNodes) {
    const name = known.get(node)?.name ?? '#foreign';
    spare.set(name, [...(spare.get(name) ?? []), node]);
  }
  let at = parent.firstChild;
  for (const child of wanted) {
    const name = typeof child === 'object' ? `${child.tag} ${child.key ?? ''}` : '#text';
    const used = places.get(name) ?? 0;
    places.set(name, used + 1);
    const found = spare.get(name)?.[used];
    const node = found ?? create(child, name, parent);
    update(node, child);
    if (node === at) {
      at = at.nextSibling;
    } else {
      parent.insertBefore(node, at);
    }
  }
  for (const [name, nodes] of spare) {
    nodes.slice(places.get(name) ?? 0).forEach((node) => node.remove());
  }
}

function create(child, name, parent) {
  let node;
  if (typeof child !== 'object') {
    node = document.createTextNode('');
  } else if (child.tag === 'svg' || (parent.namespaceURI === SVG && parent.localName !== 'foreignObject')) {
    node = document.createElementNS(SVG, child.tag);
  } else {
    node = document.createElement(child.tag);
  }
  known.set(node, { name, properties: {}, listeners: {} });
  return node;
}

function update(node, child) {
  if (typeof child !== 'object') {
    if (node.data !== String(child)) {
      node.data = String(child);
    }
    return;
  }
  const memory = known.get(node);
  const before = memory.properties;
  for (const name of new Set([...Object.keys(before), ...Object.keys(child.properties)])) {
    if (before[name] !== child.properties[name]) {
      set(node, memory, name, child.properties[name]);
    }
  }
  memory.properties = child.properties;
  patch(node, child.children);
}

function set(node, memory, name, value) {
  if (name.startsWith('on')) {
    const type = name.slice(2);
    if (!(type in memory.listeners)) {
      node.addEventListener(type, (event) => memory.listeners[type]?.(event));
    }
    memory.listeners[type] = value;
  } else if (value == null || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? '' : value);
  }
}
