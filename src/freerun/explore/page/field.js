// A number that is typed. What is typed stays until it is done, whatever is drawn anew meanwhile.
import { html, useState } from "./html.js";

export function NumberField({ value, onValue, ...rest }) {
  const [draft, setDraft] = useState(null);
  const end = (event) => { setDraft(null); onValue(event); };
  return html`<input type="number" ...${rest} value=${draft ?? value} oninput=${(event) => setDraft(event.target.value)} onchange=${end} onblur=${() => setDraft(null)} />`;
}
