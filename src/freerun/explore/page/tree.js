// The tree of texts that were visited: a node is a context, reached by its token from its parent.
let numbers = 0;

export class Node {
  constructor(id, parent) {
    this.key = `n${numbers++}`;
    this.id = id;
    this.parent = parent;
    this.children = new Map();
    this.token = null; // what the law before it said of its token
    this.next = null; // the law after it
    this.running = null;
    this.ended = false;
    this.notes = [];
    this.origins = []; // what put it there: the text, a reader's choice, a draw
    this.shown = SHOWN;
  }

  get kept() {
    return this.origins.length > 0 || [...this.children.values()].some((child) => child.kept);
  }

  child(id) {
    let found = this.children.get(id);
    if (!found) this.children.set(id, (found = new Node(id, this)));
    return found;
  }
}

export const SHOWN = 5;
const NEAR = 4; // so many forks on the way to the selection show what else was probable, the last ones

export class Tree {
  // `base`: ids and tokens before the root; `nText`: how many tokens the text has
  constructor(base = [], tokens = []) {
    this.base = base;
    this.baseTokens = tokens;
    this.root = new Node(null, null);
  }

  nodes(node) {
    const out = [];
    for (let at = node; at && at.parent; at = at.parent) out.unshift(at);
    return out;
  }

  ids(node) {
    return [...this.base, ...this.nodes(node).map((n) => n.id)];
  }

  tokens(node) {
    return [...this.baseTokens, ...this.nodes(node).map((n) => n.token)];
  }

  at(ids) {
    let node = this.root;
    for (const id of ids) node = node.child(id);
    return node;
  }

  add(node, ids, origin) {
    let at = node;
    for (const id of ids) at = at.child(id);
    if (at !== node && !at.origins.some((o) => JSON.stringify(o) === JSON.stringify(origin))) at.origins.push(origin);
    return at;
  }

  // How many tokens at the beginning of the path to a node are known already
  known(node) {
    let n = this.base.length;
    for (const at of this.nodes(node)) {
      if (!at.token) return n;
      n += 1;
    }
    return n;
  }

  fill(node, reading) {
    const path = this.nodes(node);
    for (const token of reading.tokens) {
      const at = token.position - this.base.length;
      if (at < 0) this.baseTokens[token.position] = token;
      else path[at].token = token;
    }
    Object.assign(node, { next: reading.next, running: reading.running, ended: reading.ended, notes: reading.notes });
  }

  // Move the root: to an earlier token of the text, so that what stood between becomes a branch.
  rebase(n) {
    if (n >= this.base.length) return;
    const root = new Node(null, null);
    let at = root;
    for (let t = n; t < this.base.length; t++) {
      at = at.child(this.base[t]);
      at.token = this.baseTokens[t];
    }
    const old = this.root;
    Object.assign(at, { next: old.next, running: null, ended: old.ended, notes: old.notes, shown: old.shown });
    at.origins = [{ kind: "text" }];
    for (const [id, child] of old.children) {
      child.parent = at;
      at.children.set(id, child);
    }
    this.base = this.base.slice(0, n);
    this.baseTokens = this.baseTokens.slice(0, n);
    this.root = root;
    return at;
  }

  leaves() {
    const out = [];
    const walk = (node) => {
      if (node.origins.length) out.push(node);
      for (const child of node.children.values()) walk(child);
    };
    walk(this.root);
    return out;
  }
}

export function isAncestor(node, other) {
  for (let at = other; at; at = at.parent) if (at === node) return true;
  return false;
}

// What is drawn: items with a node or, for a token that nobody went to yet, its bar; one item for the mass that is not shown.
export function visibleTree(tree, selected) {
  const path = new Set(), open = new Set();
  for (let at = selected; at; at = at.parent) {
    path.add(at);
    if (at.next !== null && open.size < NEAR) open.add(at);
  }
  return item(tree.root, null);

  function item(node, first) {
    const tokens = [];
    let last = node;
    if (first) {
      tokens.push(node);
      while (last !== selected && !isOpen(last) && last.children.size === 1) {
        last = [...last.children.values()][0];
        tokens.push(last);
      }
    }
    return {
      key: last.key, node: last, run: tokens, probability: first ? first.probability : 1,
      origins: last.origins, children: childrenOf(last), onPath: path.has(last), selected: last === selected,
    };
  }

  function isOpen(node) {
    return open.has(node);
  }

  function childrenOf(node) {
    const most = node.next?.n_draws ? node.next.bars.length : node.shown;
    const bars = isOpen(node) ? node.next.bars.slice(0, most) : [];
    const out = [];
    const seen = new Set();
    for (const bar of bars) {
      seen.add(bar.id);
      const child = node.children.get(bar.id);
      if (child && (child.kept || path.has(child))) out.push(item(child, { probability: bar.probability }));
      else out.push({ key: `${node.key}-${bar.id}`, parent: node, bar, probability: bar.probability, origins: [], children: [] });
    }
    let others = 0;
    for (const child of node.children.values()) {
      if (seen.has(child.id) || !(child.kept || path.has(child))) continue;
      const known = node.next?.bars.find((bar) => bar.id === child.id);
      const probability = child.token?.probability ?? known?.probability ?? null;
      others += probability ?? 0;
      out.push(item(child, { probability }));
    }
    if (!out.length) return out;
    out.sort((a, b) => (b.probability ?? 0) - (a.probability ?? 0));
    const rest = restOf(node, bars.length, others);
    if (rest !== null && rest.mass > 0.00005) out.push({ key: `${node.key}-rest`, parent: node, rest, probability: rest.mass, origins: [], children: [] });
    return out;
  }

  // The mass of all tokens that are not drawn; null where it is not known
  function restOf(node, nBars, others) {
    if (node.next === null) return null;
    const { bars, rest, n_draws: draws } = node.next;
    const below = nBars === bars.length ? rest : nBars === 0 ? 1 : bars[nBars - 1].beyond;
    if (below === null || below === undefined) return draws ? { mass: rest, more: false } : null;
    return { mass: Math.max(0, below - others), more: nBars > 0 && nBars < bars.length };
  }
}
