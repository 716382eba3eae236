// A second law on the same text.
import { html } from "./html.js";
import { decimal, percent, signed } from "./format.js";

export function BesideIt({ model, answer, tokens, next, waiting, error, whole, onStand }) {
  return html`<section class="beside card" aria-labelledby="beside-title" aria-busy=${waiting ? "true" : "false"}>
    <h2 id="beside-title">Beside it</h2>
    <p class="eyebrow">${model.name}${model.nature ? `, ${model.nature}` : ""}</p>
    ${waiting && html`<p class="quiet" role="status">Reading …</p>`}
    ${error && html`<p class="trouble" role="alert">${error}</p>`}
    ${answer && html`<${Gaps} answer=${answer} tokens=${tokens} whole=${whole} onStand=${onStand} />`}
    ${answer?.next && next && html`<${Both} first=${next} second=${answer.next} kl=${answer.next_kl_nats} />`}
  </section>`;
}

function Gaps({ answer, tokens, whole, onStand }) {
  const values = whole ? answer.kl_nats : answer.gap_nats.map((g) => (g === null ? null : Math.abs(g)));
  const high = Math.max(0.1, ...values.filter((v) => v !== null));
  const total = whole ? answer.total_kl_nats : answer.total_gap_nats;
  return html`<figure><figcaption>${whole ? "KL of the two laws before each token" : "Gap of the two log-probabilities of each token"}: <b>${decimal(total)} nats</b> in all</figcaption>
    <ol class="gaps">${values.map((v, t) => html`<li key=${t}><button type="button" onclick=${() => onStand(t)} aria-label=${`${tokens[t]?.shown ?? ""}: ${v === null ? "no law" : `${decimal(v, 3)} nats`}`}
      title=${`${tokens[t]?.shown ?? ""}: KL ${decimal(answer.kl_nats[t], 3)} nats, gap ${signed(answer.gap_nats[t])} nats${answer.same_top[t] === false ? ", another top token" : ""}`}>
      <span class=${answer.same_top[t] === false ? "bar other" : "bar"} style=${{ height: `${v === null ? 0 : Math.max(1, 100 * v / high)}%` }}></span></button></li>`)}</ol>
    <p class="note">Highest bar ${decimal(high, 3)} nats. Orange: the two have another most probable token there. This describes one text; nothing about other texts follows.</p></figure>`;
}

function Both({ first, second, kl }) {
  const other = new Map(second.bars.map((bar) => [bar.id, bar]));
  const mine = new Set(first.bars.slice(0, 6).map((bar) => bar.id));
  const rows = [...first.bars.slice(0, 6).map((bar) => [bar, other.get(bar.id)]), ...second.bars.slice(0, 3).filter((bar) => !mine.has(bar.id)).map((bar) => [null, bar])];
  return html`<table class="both"><caption>Next token${kl === null ? "" : `: KL ${decimal(kl, 3)} nats`}</caption><thead><tr><th>token</th><th class="num">first</th><th class="num">beside</th></tr></thead>
    <tbody>${rows.map(([a, b]) => html`<tr><th scope="row" class="word">${(a ?? b).shown}</th><td class="num">${a ? percent(a.probability) : below(first)}</td><td class="num">${b ? percent(b.probability) : below(second)}</td></tr>`)}</tbody></table>`;
}

function below(next) {
  const least = next.bars.at(-1);
  return least ? `below ${percent(least.probability)}` : "–";
}
