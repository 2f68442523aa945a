// A page is described anew as plain objects each time; only what differs reaches the document, so focus, selection and
// half-typed input stay. Text is set as text: there is no way from data to markup here.

const SVG = 'http://www.w3.org/2000/svg';
// Set as properties, and only when the description changes: what somebody types meanwhile is theirs.
const PROPERTIES = new Set(['value', 'checked', 'indeterminate', 'open', 'disabled']);

/** One element. Children may be nested lists; null, undefined and false are nothing. `key` keeps identity in a list. */
export function h(tag, props, ...children) {
  return { tag, props: props || {}, children: present(children) };
}

const present = (children) => children.flat(Infinity).filter((child) => child || child === 0);

/** What each element was last made from: its description, and those of its children with their nodes. */
const made = new WeakMap();

/** Makes the children of `parent` those that `wanted` describes. */
export function patch(parent, wanted) {
  const before = made.get(parent)?.children ?? [];
  const free = [...before];
  const after = present(wanted).map((child) => {
    const at = free.findIndex((old) => alike(old.vnode, child));
    return { vnode: child, node: at < 0 ? null : free.splice(at, 1)[0].node };
  });
  for (const { node } of free) node.remove();
  let place = parent.firstChild;
  for (const item of after) {
    if (item.node === null) item.node = create(item.vnode, parent);
    if (item.node === place) place = place.nextSibling;
    else parent.insertBefore(item.node, place);
    update(item.node, item.vnode);
  }
  made.set(parent, { ...made.get(parent), children: after });
}

function alike(old, wanted) {
  if (typeof old !== 'object' || typeof wanted !== 'object') return typeof old !== 'object' && typeof wanted !== 'object';
  return old.tag === wanted.tag && old.props.key === wanted.props.key;
}

function create(vnode, parent) {
  if (typeof vnode !== 'object') return document.createTextNode('');
  const svg = vnode.tag === 'svg' || parent.namespaceURI === SVG;
  return svg ? document.createElementNS(SVG, vnode.tag) : document.createElement(vnode.tag);
}

function update(node, vnode) {
  if (typeof vnode !== 'object') {
    if (node.data !== String(vnode)) node.data = String(vnode);
    return;
  }
  const known = made.get(node);
  const old = known?.props ?? {};
  for (const name of Object.keys(old)) if (!(name in vnode.props)) set(node, name, null, old[name]);
  // Children first: a select takes its value from its options.
  made.set(node, { children: known?.children ?? [], props: vnode.props });
  patch(node, vnode.children);
  for (const [name, value] of Object.entries(vnode.props)) if (old[name] !== value) set(node, name, value, old[name]);
  if (!known) vnode.props.ref?.(node);
}

function set(node, name, value, old) {
  if (name === 'key' || name === 'ref') return;
  if (name.startsWith('on')) {
    // Without its result: one of `false` would keep the browser from doing what it does.
    node[name] = value && ((event) => void value(event));
  } else if (name === 'style') {
    // By the object model, which a strict Content-Security-Policy allows; an attribute it would not.
    for (const property of Object.keys(old ?? {})) if (!(property in (value ?? {}))) node.style.removeProperty(property);
    for (const [property, text] of Object.entries(value ?? {})) node.style.setProperty(property, text);
  } else if (PROPERTIES.has(name)) node[name] = value ?? (name === 'value' ? '' : false);
  else if ((value ?? false) === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? '' : value);
}
