// The page: what is on it, and what it asks.
import { about as askAbout, Gone, Line, Refusal } from "./api.js";
import { Along } from "./along.js";
import { BesideIt } from "./beside.js";
import { Editor, Sampler } from "./editor.js";
import { html, render, useEffect, useMemo, useRef, useState } from "./html.js";
import { checkSaved, readLink, saved, writeLink } from "./link.js";
import { Next } from "./next.js";
import { Strip } from "./strip.js";
import { isAncestor, SHOWN, Tree, visibleTree } from "./tree.js";
import { TreeView } from "./treeview.js";
import { Writers } from "./writers.js";

const TOP = 40, PAUSE_MS = 220;
const lines = { read: new Line(), sample: new Line(), writers: new Line(), coherence: new Line(), beside: new Line(), run: new Line() };

function App({ about, start }) {
  const first = start.text ?? (start.sequence === null ? about.examples[0]?.text ?? "" : "");
  const [text, setText] = useState(first);
  const [sequence, setSequence] = useState(about.run ? start.sequence : null);
  const [tree, setTree] = useState(() => new Tree());
  const [selected, setSelected] = useState(tree.root);
  const [leaf, setLeaf] = useState(tree.root); // the end of the line that the strip shows
  const [version, setVersion] = useState(0);
  const [temperature, setTemperature] = useState(start.temperature ?? 1);
  const [waiting, setWaiting] = useState({});
  const [trouble, setTrouble] = useState(null);
  const [gone, setGone] = useState(null);
  const [numbers, setNumbers] = useState(false);
  const shelf0 = about.shelves.find((s) => s.name === start.shelf) ?? about.shelves.find((s) => s.name === exampleOf(about, first)?.shelf) ?? about.shelves[0];
  const [who, setWho] = useState({ shelf: shelf0?.name ?? null, latent: shelf0?.latents.find((l) => l.name === start.latent)?.name ?? shelf0?.latents[0]?.name ?? null, asked: start.shelf !== null, prior: null });
  const [writers, setWriters] = useState({});
  const [coherence, setCoherence] = useState(null);
  const [beside, setBeside] = useState({});
  const fork = useRef(start.fork), wanted = useRef(start.at.every((id) => id < about.model.vocabulary) ? start.at : []);
  const jumped = useRef(false); // another text was chosen, not written: the one before is a step back
  const written = useRef(location.hash); // another hash is where the reader goes, and not ours to write over
  const again = () => setVersion((v) => v + 1);

  const failed = (error) => {
    if (error.name === "AbortError") return;
    if (error instanceof Gone) setGone(error.message);
    else if (error instanceof Refusal && error.status === 403) setGone("The server was started again and has a new token.");
    else setTrouble(error.message);
  };
  const during = async (name, work) => {
    setWaiting((w) => ({ ...w, [name]: { done: 0, total: 0 } }));
    try {
      return await work((p) => setWaiting((w) => (w[name] ? { ...w, [name]: p } : w)));
    } finally {
      setWaiting((w) => ({ ...w, [name]: null }));
    }
  };

  // ---- reading ----
  const open = (reading, nText, name) => {
    const fresh = new Tree(reading.ids.slice(0, nText), reading.tokens.slice(0, nText));
    const at = fresh.add(fresh.root, reading.ids.slice(nText), { kind: "text" });
    if (at === fresh.root) fresh.fill(at, reading);
    else fresh.nodes(at).forEach((node, i) => { node.token = reading.tokens[nText + i]; });
    let here = fresh.root;
    if (wanted.current.length) {
      for (const id of wanted.current) here = here.child(id);
      if (here !== fresh.root) here.origins.push({ kind: "chosen" });
      wanted.current = [];
    }
    setTree(fresh);
    setLeaf(isAncestor(here, at) ? at : here);
    setWriters({});
    setCoherence(null);
    setBeside({});
    setTrouble(null);
    select(fresh, here, isAncestor(here, at) ? at : here);
  };

  const readText = async (words) => {
    const from = fork.current;
    fork.current = null;
    try {
      const reading = await during("read", (onProgress) => lines.read.ask("read", { text: words, top: TOP, temperature }, { onProgress }));
      setSequence(null);
      open(reading, from === null ? reading.ids.length : Math.min(from, reading.ids.length));
    } catch (error) {
      failed(error);
    }
  };

  const readSequence = async (number) => {
    const from = fork.current;
    fork.current = null;
    try {
      const found = await during("read", () => lines.run.ask("run-text", { sequence: number }));
      const reading = await during("read", (onProgress) => lines.read.ask("read", { ids: found.ids, top: TOP, temperature, branch: found.n_prefix }, { onProgress }));
      setSequence(number);
      open(reading, from === null ? found.n_prefix : Math.min(from, reading.ids.length));
    } catch (error) {
      failed(error);
    }
  };

  const load = async (target, node, heat = temperature) => {
    const body = { ids: target.ids(node), first: target.known(node), branch: target.base.length, top: TOP, temperature: heat };
    const reading = await during("read", (onProgress) => lines.read.ask("read", body, { onProgress }));
    target.fill(node, reading);
    setTrouble(null);
    again();
  };

  const select = (target, node, end = null) => {
    setSelected(node);
    const line = end ?? (isAncestor(node, leaf) ? leaf : node);
    setLeaf(line);
    setCoherence(null);
    if (node.next === null && !node.ended || node.running === null || node.next && node.next.temperature !== temperature) load(target, node).catch(failed);
    else lines.read.cancel();
    again();
  };

  const stand = (t) => {
    if (t < tree.base.length) {
      tree.rebase(t);
      const end = isAncestor(tree.root, leaf) ? leaf : endOf(tree);
      select(tree, tree.root, end);
    } else {
      select(tree, t === tree.base.length ? tree.root : tree.nodes(leaf)[t - tree.base.length - 1], leaf);
    }
  };

  const take = (id) => {
    const child = selected.child(id);
    if (!child.kept) child.origins.push({ kind: "chosen" });
    select(tree, child);
  };

  const heat = (value) => {
    setTemperature(value);
    clearTimeout(heat.timer);
    heat.timer = setTimeout(() => load(tree, selected, value).catch(failed), 120);
  };

  const sample = async ({ n, tokens, seed }) => {
    const node = selected;
    try {
      const found = await during("sample", (onProgress) => lines.sample.ask("sample", { ids: tree.ids(node), n, tokens, seed, temperature }, { onProgress }));
      const law = found.counted ? found.law : `${found.law}, drawn by the server`;
      const ends = found.branches.map((b) => tree.add(node, b.ids, { kind: "sampled", seed: found.seed, number: b.number, law }));
      for (const end of ends) {
        const body = { ids: tree.ids(end), first: tree.known(end), branch: tree.base.length, top: TOP, temperature };
        tree.fill(end, await lines.sample.ask("read", body));
      }
      again();
    } catch (error) {
      failed(error);
    }
  };

  // ---- what follows the selection ----
  const path = tree.ids(selected), key = path.join(".");
  useEffect(() => {
    const timer = setTimeout(() => {
      followBeside();
      followWriters();
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [key, who.asked, who.shelf, who.latent, who.prior, selected.next === null]);

  const followBeside = async () => {
    if (!about.beside || !path.length || selected.running === null) return;
    try {
      const answer = await during("beside", (onProgress) => lines.beside.ask("beside", { ids: path }, { onProgress }));
      setBeside({ answer, key });
    } catch (error) {
      if (error instanceof Refusal && error.status === 200) setBeside({ error: error.message });
      else failed(error);
    }
  };

  const followWriters = async () => {
    if (!who.asked || !who.shelf || !path.length || selected.running === null) return;
    const body = { ids: path, shelf: who.shelf, latent: who.latent, prior: who.prior };
    try {
      const answer = await during("writers", (onProgress) => lines.writers.ask("writers", body, { onProgress }));
      setWriters({ answer, key });
    } catch (error) {
      if (error instanceof Refusal && error.status === 200) setWriters({ error: error.message });
      else failed(error);
    }
  };

  const checkCoherence = async () => {
    const body = { ids: path, shelf: who.shelf, latent: who.latent, prior: who.prior, first: tree.base.length };
    try {
      setCoherence(await during("writers", (onProgress) => lines.coherence.ask("coherence", body, { onProgress })));
    } catch (error) {
      if (error instanceof Refusal && error.status === 200) setWriters((w) => ({ ...w, error: error.message }));
      else failed(error);
    }
  };

  // ---- beginning, address, loss of the server ----
  useEffect(() => {
    if (sequence !== null) readSequence(sequence);
    else readText(first);
  }, []);

  useEffect(() => {
    const at = tree.nodes(selected).map((n) => n.id);
    const from = at.length || tree.nodes(leaf).length ? tree.base.length : null;
    if (location.hash !== written.current || !tree.base.length && !at.length && !text) return;
    const keep = jumped.current ? "pushState" : "replaceState";
    jumped.current = false;
    history[keep](null, "", writeLink({ text, sequence, fork: from, at, temperature, shelf: who.asked ? who.shelf : null, latent: who.asked ? who.latent : null }));
    written.current = location.hash;
  }, [key, text, sequence, temperature, who.asked, who.shelf, who.latent]);

  useEffect(() => {
    const follow = () => location.reload(); // back, forward, or a link pasted into this tab
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, []);

  useEffect(() => {
    if (!gone) return;
    const timer = setInterval(async () => {
      try {
        const now = await askAbout();
        if (now.model.fingerprint !== about.model.fingerprint) location.reload();
        setGone(null);
        if (selected.next === null) load(tree, selected).catch(failed);
      } catch (error) {
        if (error instanceof Refusal) setGone("The server was started again and has a new token.");
      }
    }, 1000);
    return () => clearInterval(timer);
  }, [gone]);

  // ---- files ----
  const save = () => {
    const blob = new Blob([JSON.stringify(saved({ tree, selected, text }, about), null, 1)], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "explore.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const restore = async (file) => {
    try {
      const held = checkSaved(JSON.parse(await file.text()), about);
      const fresh = new Tree(held.base, []);
      const reading = await during("read", (onProgress) => lines.read.ask("read", { ids: held.base, top: TOP, temperature }, { onProgress }));
      fresh.fill(fresh.root, reading);
      for (const branch of held.branches) {
        let end = fresh.root;
        for (const id of branch.ids) end = end.child(id);
        end.origins.push(...branch.origins);
        const answer = await lines.read.ask("read", { ids: fresh.ids(end), first: fresh.known(end), branch: fresh.base.length, top: TOP, temperature });
        fresh.fill(end, answer);
      }
      setText(held.text);
      setSequence(null);
      setTree(fresh);
      setWriters({});
      const at = fresh.at(held.selected);
      select(fresh, at, at);
      setTrouble(held.other ? `This tree was saved with ${held.other}; every number is now of ${about.model.name}.` : null);
    } catch (error) {
      failed(error instanceof SyntaxError ? new Error("this file is not valid JSON") : error);
    }
  };

  // ---- the page ----
  const tokens = useMemo(() => tree.tokens(leaf).filter(Boolean), [tree, leaf, version]);
  const seen = useMemo(() => tree.tokens(selected).filter(Boolean), [tree, selected, version]);
  const drawn = useMemo(() => visibleTree(tree, selected), [tree, selected, version]);
  const here = path.length, actual = tokens[here]?.id ?? null;
  const known = selected.running !== null;
  return html`<div class="layout explore">
    <${Top} about=${about} onSave=${save} onRestore=${restore} />
    ${gone && html`<p class="banner" role="alert"><b>${gone}</b> Start <code>freerun explore</code> again and open the address that it prints; this page goes on by itself then.</p>`}
    ${trouble && html`<p class="banner" role="alert">${trouble} <button type="button" class="plain" onclick=${() => setTrouble(null)}>Dismiss</button></p>`}
    <main>
      <div class="desk">
        <div class="text-side">
          <${Editor} text=${text} about=${about} sequence=${sequence} waiting=${waiting.read} onText=${(t) => { setText(t); setSequence(null); }}
            onRead=${(t) => readText(t)} onExample=${(e) => { jumped.current = e.text !== text; setText(e.text); pick(about, e, setWho); readText(e.text); }} onSequence=${(number) => { jumped.current = number !== sequence; readSequence(number); }} onCancel=${() => lines.read.cancel()} />
          <${Strip} tokens=${tokens} here=${here} branch=${tree.base.length} edges=${about.rank_bands} onStand=${stand} numbers=${numbers} />
          <label class="switch"><input type="checkbox" checked=${numbers} onchange=${(e) => setNumbers(e.target.checked)} /> surprisal and entropy as numbers, nats</label>
          ${selected.notes.map((note) => html`<p class="note">${note}</p>`)}
        </div>
        <${Next} next=${selected.next} model=${about.model} actual=${actual} temperature=${temperature} onTemperature=${heat} onTake=${take} ended=${selected.ended} waiting=${Boolean(waiting.read)} />
      </div>
      <section class="tree" aria-labelledby="tree-title">
        <div class="heading"><div><h2 id="tree-title">What it would write</h2>
          <p class="hint">Width is probability. Arrow keys: ↑ ↓ siblings, ← parent, → child. Below each fork stands the mass that is not shown.</p></div>
          <${Sampler} waiting=${waiting.sample} temperature=${temperature} model=${about.model} disabled=${!known || selected.ended} onSample=${sample} onCancel=${() => lines.sample.cancel()} /></div>
        <${TreeView} root=${drawn} selected=${selected} onSelect=${(item) => (item.node ? select(tree, item.node) : visit(item))}
          onMore=${(node) => { node.shown += SHOWN; again(); }} onBack=${() => tree.base.length && stand(tree.base.length - 1)} />
      </section>
      <div class="answers">
        <${Writers} shelves=${about.shelves} shelf=${who.shelf} latent=${who.latent} asked=${who.asked} prior=${who.prior} answer=${writers.answer} error=${writers.error}
          waiting=${waiting.writers} tokens=${seen} branch=${tree.base.length} coherence=${coherence} onCoherence=${checkCoherence}
          onShelf=${(name) => { const s = about.shelves.find((x) => x.name === name); setWho({ ...who, shelf: name, latent: s.latents[0].name, prior: null }); setWriters({}); setCoherence(null); }}
          onLatent=${(name) => { setWho({ ...who, latent: name, prior: null }); setWriters({}); setCoherence(null); }}
          onPrior=${(prior) => setWho({ ...who, prior })} onAsk=${() => setWho({ ...who, asked: true })}
          onCancel=${() => { lines.writers.cancel(); lines.coherence.cancel(); }} />
        <div class="side">
          <${Along} running=${selected.running} next=${selected.next} branch=${tree.base.length < here} rule=${about.loop_rule} />
          ${about.beside && html`<${BesideIt} model=${about.beside} answer=${beside.key === key ? beside.answer : null} error=${beside.error} tokens=${seen} next=${selected.next}
            waiting=${waiting.beside} whole=${about.model.whole_laws && about.beside.whole_laws} onStand=${stand} />`}
        </div>
      </div>
    </main>
    <footer><p>freerun ${about.freerun_version} · everything is computed on this machine; nothing is fetched or sent elsewhere.${about.model.tuned ? " An instruct model, fed raw text: its chat template is off." : ""}</p></footer>
  </div>`;

  function visit(item) {
    const child = item.parent.child(item.bar.id);
    select(tree, child);
  }
}

function endOf(tree) {
  let at = tree.root;
  while (at.children.size) at = [...at.children.values()][0];
  return at;
}

function exampleOf(about, text) {
  return about.examples.find((e) => e.text === text);
}

function pick(about, example, setWho) {
  const shelf = about.shelves.find((s) => s.name === example.shelf);
  if (shelf) setWho((who) => ({ ...who, shelf: shelf.name, latent: shelf.latents[0].name, prior: null }));
}

function Top({ about, onSave, onRestore }) {
  const [copied, setCopied] = useState(false);
  const file = useRef(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    } catch {
      prompt("Copy this address", location.href);
    }
  };
  return html`<header class="top"><div><p class="eyebrow">freerun explore</p><h1>What comes next?</h1>
    <p class="model"><b>${about.model.name}</b>${about.model.nature ? ` · ${about.model.nature}` : ""}${about.model.licence ? ` · ${about.model.licence}` : ""}${about.run ? ` · run ${about.run.title}` : ""}</p></div>
    <div class="tools"><button type="button" onclick=${copy}>${copied ? "Copied" : "Copy link"}</button><button type="button" onclick=${onSave}>Save tree</button>
      <button type="button" onclick=${() => file.current.click()}>Load tree</button>
      <input ref=${file} class="hidden" type="file" accept="application/json,.json" tabindex="-1" aria-label="a saved tree" onchange=${(e) => { if (e.target.files[0]) onRestore(e.target.files[0]); e.target.value = ""; }} /></div></header>`;
}

async function begin() {
  const root = document.getElementById("app");
  try {
    const about = await askAbout();
    document.title = `${about.model.name} – freerun explore`;
    root.replaceChildren();
    render(html`<${App} about=${about} start=${readLink(location.hash)} />`, root);
  } catch (error) {
    root.querySelector(".quiet").textContent = error.message;
  }
}

begin();
