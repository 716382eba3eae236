// The tree of continuations: drawn, walked with the keyboard, read by a screen reader.
import { hierarchy, tree as layout } from "./vendor/d3-hierarchy.js";
import { html, useLayoutEffect, useRef } from "./html.js";
import { oneLine, percent } from "./format.js";

const ROW = 34, COLUMN = 196, BOX = 156, LONGEST_BOX = 420, WIDEST = 16;

export function origin(origins) {
  const drawn = origins.filter((o) => o.kind === "sampled");
  if (drawn.length) return drawn.map((o) => `seed ${o.seed}, draw ${o.number + 1}, ${o.law}`).join("; ");
  if (origins.some((o) => o.kind === "text")) return "the text";
  return origins.length ? "chosen" : "";
}

function words(item) {
  if (item.rest) return `${percent(item.rest.mass)} not shown`;
  if (item.bar) return item.bar.shown;
  if (!item.run.length) return "";
  return item.run.map((node) => oneLine(node.token?.piece ?? "…")).join("");
}

// What is heard after an item's words and its probability
function spoken(item) {
  if (item.rest) return item.rest.more ? "; open to see more" : "";
  if (item.node && !item.run.length) return ", the beginning of the tree";
  const from = origin(item.origins);
  return from ? `, ${from}` : "";
}

export function TreeView({ root, selected, onSelect, onMore, onBack }) {
  const scroller = useRef(null), focused = useRef(false);
  const nodes = hierarchy(root, (item) => item.children);
  layout().nodeSize([ROW, COLUMN]).separation((a, b) => (a.parent === b.parent ? 1 : 1.25))(nodes);
  const all = nodes.descendants();
  const top = Math.min(...all.map((n) => n.x)) - ROW, bottom = Math.max(...all.map((n) => n.x)) + ROW;
  const box = (n) => (n.children ? BOX : n.data.run?.length > 1 ? room(n, all) : BOX);
  const width = Math.max(...all.map((n) => n.y + box(n))) + 24;
  const here = all.find((n) => n.data.selected) ?? nodes;

  useLayoutEffect(() => {
    const element = scroller.current?.querySelector("[aria-selected=true]");
    if (!element) return;
    if (focused.current) element.focus({ preventScroll: true });
    bring(scroller.current, element);
  }, [selected, root]);

  const go = (n) => {
    if (!n) return;
    focused.current = true;
    if (n.data.rest) n.data.rest.more && onMore(n.data.parent);
    else onSelect(n.data);
  };

  const onKey = (event) => {
    const siblings = here.parent?.children ?? [here], at = siblings.indexOf(here);
    const moves = {
      ArrowUp: () => go(walkable(siblings.slice(0, at)).at(-1)),
      ArrowDown: () => go(siblings[at + 1]),
      ArrowLeft: () => (here.parent ? go(here.parent) : onBack()),
      ArrowRight: () => go(here.children?.find((n) => n.data.onPath) ?? here.children?.[0]),
      Home: () => go(nodes),
      End: () => go(walkable(siblings).at(-1)),
    };
    if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moves[event.key]();
  };

  return html`<div class="tree-scroll" ref=${scroller} onfocusout=${(event) => { if (event.relatedTarget && !scroller.current.contains(event.relatedTarget)) focused.current = false; }}>
    <div class="canvas" style=${{ width: `${width}px`, height: `${bottom - top}px` }}>
      <svg aria-hidden="true" width=${width} height=${bottom - top}>
        ${nodes.links().map(({ source, target }) => html`<path key=${target.data.key} class=${linkClass(target.data)} d=${curve(source, target, top)}
          stroke-width=${Math.max(1, WIDEST * (target.data.probability ?? 0))} />`)}
      </svg>
      <div role="tree" aria-label="Continuations. Up and down: siblings. Left: parent. Right: child." onkeydown=${onKey}>
        ${all.map((n) => html`<${Item} key=${n.data.key} n=${n} top=${top} width=${box(n)} isHere=${n === here} onGo=${() => go(n)} />`)}
      </div>
    </div></div>`;
}

function walkable(siblings) {
  return siblings.filter((n) => !n.data.rest);
}

function Item({ n, top, width, isHere, onGo }) {
  const { data } = n;
  const siblings = n.parent?.children ?? [n];
  const text = words(data);
  return html`<div role="treeitem" class=${itemClass(data)} tabindex=${isHere ? 0 : -1} aria-level=${n.depth + 1} aria-selected=${isHere ? "true" : "false"}
      aria-expanded=${data.rest ? null : n.children ? "true" : "false"} aria-setsize=${siblings.length} aria-posinset=${siblings.indexOf(n) + 1}
      title=${origin(data.origins) || null}
      style=${{ left: `${n.y}px`, top: `${n.x - top - ROW / 2}px`, maxWidth: `${width}px` }} onclick=${onGo}>
    ${n.depth === 0 ? html`<span class="word root">here</span>` : html`<span class="word">${text}</span>`}
    ${n.depth > 0 && !data.rest && html`<span class="p"><span class="hidden">, </span>${percent(data.probability)}</span>`}
    ${data.node?.ended && html`<span class="p"><span class="hidden">, </span>ends</span>`}
    ${data.rest?.more && html`<span class="p">more</span>`}
    <span class="hidden">${spoken(data)}</span>
  </div>`;
}

function itemClass(data) {
  const kind = data.rest ? "rest" : data.bar ? "possible" : data.origins.some((o) => o.kind === "sampled") ? "sampled" : "visited";
  return `item ${kind}${data.onPath ? " path" : ""}${data.selected ? " selected" : ""}`;
}

function linkClass(data) {
  const kind = data.rest ? "rest" : isSampled(data) ? "sampled" : "law";
  return `link ${kind}${data.onPath ? " path" : ""}`;
}

function isSampled(data) {
  return data.origins.some((o) => o.kind === "sampled") || (data.children ?? []).some(isSampled);
}

function curve(source, target, top) {
  const x = source.y + reach(source), y = source.x - top, to = target.y - 4, at = target.x - top;
  const middle = (x + to) / 2;
  return `M${x},${y}C${middle},${y} ${middle},${at} ${to},${at}`;
}

// How wide a leaf may be before it covers what stands further right
function room(n, all) {
  const right = all.filter((other) => other.y > n.y && Math.abs(other.x - n.x) < ROW).map((other) => other.y - n.y - 14);
  return Math.min(LONGEST_BOX, ...right);
}

// About where the words of a fork end
function reach(n) {
  return n.depth === 0 ? 52 : Math.min(BOX, 8.5 * words(n.data).length + 62);
}

// Scroll the tree, never the page, so that an item can be seen
function bring(scroller, element) {
  const left = element.offsetLeft, right = left + element.offsetWidth;
  const to = { left: scroller.scrollLeft, top: scroller.scrollTop };
  if (left < to.left + 24) to.left = left - 24;
  else if (right + COLUMN > to.left + scroller.clientWidth) to.left = Math.min(left - 24, right + COLUMN - scroller.clientWidth);
  const middle = element.offsetTop - scroller.clientHeight / 2;
  if (element.offsetTop < to.top + ROW || element.offsetTop + 2 * ROW > to.top + scroller.clientHeight) to.top = middle;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  scroller.scrollTo({ ...to, behavior: calm ? "instant" : "smooth" });
}

