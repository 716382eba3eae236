// Statistics along the branch: is it more surprising than its own laws expect, and does it loop?
import { html } from "./html.js";
import { decimal, pValue, percent, signed } from "./format.js";

const WIDTH = 460, HEIGHT = 150, LEFT = 34, RIGHT = 8, TOP = 10, BOTTOM = 22;

export function Along({ running, next, branch, rule }) {
  return html`<section class="along card" aria-labelledby="along-title">
    <h2 id="along-title">Along the branch</h2>
    <${Loop} running=${running} next=${next} rule=${rule} />
    ${running && running.excess_nats ? html`<${Excess} running=${running} branch=${branch} />`
      : html`<p class="quiet">${running && !next?.bars ? "Nothing is written yet." : "Σ(surprisal − entropy) needs the whole law of every token."}</p>`}
  </section>`;
}

function Loop({ running, next, rule }) {
  if (!running) return null;
  const found = running.loop_at !== null;
  return html`<p class=${`alarm ${running.loops_now ? "on" : ""}`}><span class="sign-of" aria-hidden="true">${running.loops_now ? "!" : found ? "·" : "✓"}</span>
    ${running.loops_now ? `It loops: complete at token ${running.loop_at + 1}.` : found ? `It looped at token ${running.loop_at + 1} and left.` : "No loop."}
    ${next?.loop_mass ? ` ${percent(next.loop_mass)} of the next law would complete one.` : ""}
    <small> A loop: ${rule.copies} copies in a row of at most ${rule.max_period} tokens, ${rule.min_tokens} tokens in all.</small></p>`;
}

function Excess({ running, branch }) {
  const { excess_nats: sum, half_width_nats: half, first } = running;
  const n = sum.length;
  const finite = sum.filter((x) => x !== null);
  const high = Math.max(1, ...half.map(Math.abs), ...finite.map(Math.abs)) * 1.05;
  const x = (t) => LEFT + (WIDTH - LEFT - RIGHT) * (n === 1 ? 1 : t / (n - 1));
  const y = (v) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (v + high) / (2 * high));
  const path = (values) => values.map((v, t) => `${t ? "L" : "M"}${x(t).toFixed(1)},${y(v).toFixed(1)}`).join("");
  const band = `${path(half)}${half.map((v, t) => [t, -v]).reverse().map(([t, v]) => `L${x(t).toFixed(1)},${y(v).toFixed(1)}`).join("")}Z`;
  const last = sum.at(-1);
  const outside = last === null || Math.abs(last) > half.at(-1);
  return html`<figure>
    <figcaption>Σ(surprisal − entropy)${branch ? " since the fork" : ""}: <b>${last === null ? "∞" : signed(last)} nats</b>${running.z === null ? "" : `, z = ${signed(running.z, 1)}`}</figcaption>
    <svg class="excess" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${`Sum of surprisal minus entropy over ${n} tokens, ${last === null ? "infinite" : signed(last)} nats at the end, ${outside ? "outside" : "inside"} the pointwise 95% band of ±${decimal(half.at(-1))}`}>
      <path class="band" d=${band} />
      <line class="zero" x1=${LEFT} x2=${WIDTH - RIGHT} y1=${y(0)} y2=${y(0)} />
      <text class="tick" x=${LEFT - 5} y=${y(0) + 4}>0</text>
      <text class="tick" x=${LEFT - 5} y=${TOP + 8}>${decimal(high, 0)}</text>
      <text class="tick" x=${LEFT - 5} y=${HEIGHT - BOTTOM}>${decimal(-high, 0)}</text>
      <text class="tick start" x=${LEFT} y=${HEIGHT - 5}>token ${first + 1}</text>
      <text class="tick" x=${WIDTH - RIGHT} y=${HEIGHT - 5}>${n > 1 ? first + n : ""}</text>
      ${n === 1 ? html`<circle class="sum" r="3" cx=${x(0)} cy=${y(sum[0] ?? high)} />` : html`<path class="sum" d=${path(sum.map((v) => v ?? high))} />`}
    </svg>
    <p class="note">Above 0: more surprising than its own laws expected. Text that the model draws at temperature 1 stays within the band with 95%
      probability at each token by itself; whoever watches long enough sees it leave. Valid whenever one looks: ${pValue(running.p_any_time)}, from betting against "the model drew this".</p>
  </figure>`;
}
