// Where a text is written or chosen, and where continuations are drawn.
import { NumberField } from "./field.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";

const PAUSE_MS = 500;

export function Editor({ text, about, sequence, waiting, onText, onRead, onExample, onSequence, onCancel }) {
  const area = useRef(null), timer = useRef(0);
  useLayoutEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${Math.min(area.current.scrollHeight + 2, 260)}px`;
  }, [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const write = (event) => {
    const words = event.target.value;
    onText(words);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onRead(words), PAUSE_MS);
  };
  return html`<section class="editor" aria-labelledby="text-title">
    <h2 id="text-title" class="eyebrow"><label for="text">${sequence === null ? "The text so far" : "A text of the run; write here to leave it"}</label></h2>
    <textarea id="text" ref=${area} rows="2" spellcheck="false" dir="auto" value=${sequence === null ? text : ""} oninput=${write}
      placeholder=${sequence !== null ? "" : about.model.first_law ? "Nothing yet: this is the law of the first token." : "Write at least one word."}></textarea>
    <div class="examples"><span class="eyebrow">Try</span>${about.examples.map((example) => html`<button type="button" class="chip" title=${example.why} onclick=${() => { clearTimeout(timer.current); onExample(example); }}>${example.name}</button>`)}
      ${waiting && html`<span class="quiet" role="status">${waiting.busy ? "The model is busy …" : waiting.total ? `Reading ${waiting.done} of ${waiting.total}` : "Reading …"}</span>
        <button type="button" class="plain" onclick=${onCancel}>Cancel</button>`}</div>
    ${about.run && html`<${RunTexts} run=${about.run} sequence=${sequence} onSequence=${onSequence} />`}
  </section>`;
}

function RunTexts({ run, sequence, onSequence }) {
  const documents = new Map();
  for (const entry of run.texts) documents.set(entry.document_id, [...(documents.get(entry.document_id) ?? []), entry]);
  return html`<div class="run-texts"><label>A text of the run <select value=${sequence === null ? "" : String(sequence)} onchange=${(e) => e.target.value !== "" && onSequence(Number(e.target.value))}>
      <option value="">choose one …</option>
      ${[...documents].map(([name, entries]) => html`<optgroup key=${name} label=${entries[0].shown ? `${name} (${entries[0].shown})` : name}>
        ${entries.map((entry) => html`<option value=${String(entry.sequence)}>${entry.arm}, ${name}</option>`)}</optgroup>`)}
    </select></label>${!run.same_model && html`<p class="note">The run measured ${run.model}; numbers here are of the model that is loaded.</p>`}</div>`;
}

export function Sampler({ waiting, temperature, model, disabled, onSample, onCancel }) {
  const [n, setN] = useState(3), [tokens, setTokens] = useState(24), [seed, setSeed] = useState(0);
  const field = (name, value, set, most) => html`<label>${name} <${NumberField} min="0" max=${most} value=${value} onValue=${(e) => set(Math.min(most, Math.max(0, Math.round(Number(e.target.value)) || 0)))} /></label>`;
  return html`<form class="sampler" onsubmit=${(e) => { e.preventDefault(); onSample({ n: Math.max(1, n), tokens: Math.max(1, tokens), seed }); setSeed(seed + 1); }}>
    ${field("draws", n, setN, 16)} ${field("tokens", tokens, setTokens, 200)} ${field("seed", seed, setSeed, 2 ** 31)}
    ${waiting ? html`<span role="status" class="quiet">${waiting.total ? `${waiting.done} of ${waiting.total} tokens` : "Waiting …"}</span><button type="button" onclick=${onCancel}>Cancel</button>`
      : html`<button type="submit" class="main" disabled=${disabled}>Let it write${temperature === 1 ? "" : ` at ${temperature.toFixed(2)}`}</button>`}
  </form>`;
}

