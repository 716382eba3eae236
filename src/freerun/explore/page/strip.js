// The token strip: every token with its rank band (underline, number and colour), its surprisal and the entropy before it.
import { html, useLayoutEffect, useRef, useState } from "./html.js";
import { decimal, oneLine, percent, plural, whole } from "./format.js";

const FULL_NATS = 10;

export function bandNames(edges) {
  return [...edges.map((edge, i) => {
    const from = i ? edges[i - 1] + 1 : 1;
    return from === edge ? `rank ${edge}` : `${whole(from)}–${whole(edge)}`;
  }), `above ${whole(edges.at(-1))}`];
}

export function describe(token) {
  if (token.given) return "given, no law stands before it";
  if (token.impossible) return "impossible under the law";
  const parts = [`${decimal(token.surprisal_nats)} nats (${percent(token.probability)})`];
  parts.push(token.rank === null ? "rank unknown" : `rank ${whole(token.rank)}`);
  parts.push(token.entropy_nats === null ? "entropy unknown" : `entropy ${decimal(token.entropy_nats)} nats`);
  return parts.join(", ");
}

export function Strip({ tokens, here, branch, edges, onStand, numbers }) {
  const [pointed, setPointed] = useState(null);
  const list = useRef(null);
  useLayoutEffect(() => {
    const at = list.current?.querySelector(".now, .cursor");
    if (at) list.current.scrollTop = Math.max(0, at.offsetTop - list.current.clientHeight / 2);
  }, [here, tokens.length]);
  const shown = pointed !== null && tokens[pointed] ? pointed : here < tokens.length ? here : null;
  return html`<section class="strip" aria-labelledby="strip-title">
    <h2 id="strip-title">Token by token</h2>
    <p class="hint">Choose a token to stand before it: the law there, and what else could have come.</p>
    <ol ref=${list} class=${`tokens${numbers ? " numbered" : ""}`} onpointerleave=${() => setPointed(null)}>
      ${tokens.map((token, t) => html`<${Token} key=${t} token=${token} t=${t} ahead=${t >= here} branch=${t >= branch}
        start=${t === branch && t > 0} now=${t === here} onStand=${onStand} onPoint=${setPointed} numbers=${numbers} />`)}
      ${here === tokens.length && html`<li class="cursor" aria-label="you are here: the next token"><span>?</span></li>`}
    </ol>
    <p class="told" aria-live="polite">${shown === null ? html`<span class="quiet">${plural(tokens.length, "token")}</span>`
      : html`<b class="word">${tokens[shown].shown}</b> token ${shown + 1} of ${tokens.length}: ${describe(tokens[shown])}`}</p>
    <${Legend} edges=${edges} />
  </section>`;
}

// As `describe`, with the rank last: its number stands under the token
function told(token) {
  if (token.given || token.impossible) return describe(token);
  const entropy = token.entropy_nats === null ? "entropy unknown" : `entropy ${decimal(token.entropy_nats)} nats`;
  return `${decimal(token.surprisal_nats)} nats (${percent(token.probability)}), ${entropy}, rank `;
}

function Token({ token, t, ahead, branch, start, now, onStand, onPoint, numbers }) {
  const piece = oneLine(token.piece);
  const classes = ["cell", token.given ? "given" : token.impossible ? "impossible" : `band${token.band ?? "-unknown"}`];
  if (ahead) classes.push("ahead");
  if (branch) classes.push("branch");
  if (start) classes.push("start");
  if (now) classes.push("now");
  return html`<li class=${classes.join(" ")}>
    <button type="button" onclick=${() => onStand(t)} onpointerenter=${() => onPoint(t)} onfocus=${() => onPoint(t)}
      title=${token.shown} aria-current=${now ? "true" : null}>
      <span class="piece">${piece}</span>
      <span class="meter" aria-hidden="true">
        ${token.surprisal_nats !== null && html`<span class="fill" style=${{ width: `${Math.min(100, 100 * token.surprisal_nats / FULL_NATS)}%` }}></span>`}
        ${token.entropy_nats !== null && html`<span class="tick" style=${{ left: `${Math.min(100, 100 * token.entropy_nats / FULL_NATS)}%` }}></span>`}
      </span>
      <span class="hidden">: ${told(token)}</span>
      <span class="rank">${token.given ? "·" : token.impossible ? "∞" : whole(token.rank)}</span>
      ${numbers && html`<span class="nats" aria-hidden="true">${decimal(token.surprisal_nats, 1)}</span><span class="nats entropy" aria-hidden="true">${decimal(token.entropy_nats, 1)}</span>`}
    </button>
  </li>${token.piece.includes("\n") && html`<li class="break" aria-hidden="true"></li>`}`;
}

function Legend({ edges }) {
  return html`<details class="legend"><summary>How to read it</summary>
    <ul>${bandNames(edges).map((name, i) => html`<li class=${`cell band${i}`}><span class="piece">abc</span> ${name}</li>`)}
      <li class="meters"><span class="meter"><span class="fill" style=${{ width: "35%" }}></span><span class="tick" style=${{ left: "55%" }}></span></span>
        bar: surprisal, 0 to ${FULL_NATS} nats; tick: the entropy that the law had before it. A bar past the tick is more surprising than expected.</li></ul>
    <p>The number under a token is its rank: 1 is the most probable token of the law before it.</p></details>`;
}
