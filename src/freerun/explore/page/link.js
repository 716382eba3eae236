// The address of what is on the page: text, fork, branch and temperature stand after the #, which no server sees.
export function readLink(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  const ids = (name) => (values.get(name) ?? "").split(".").filter((x) => /^\d+$/.test(x)).map(Number);
  const number = (name, least, most) => {
    const value = Number(values.get(name));
    return values.get(name) !== null && Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : null;
  };
  return {
    text: values.get("text"), fork: number("fork", 0, 1e6), at: ids("at"), temperature: number("t", 0, 2),
    sequence: number("sequence", 0, 1e9), shelf: values.get("sources"), latent: values.get("latent"),
  };
}

export function writeLink({ text, sequence, fork, at, temperature, shelf, latent }) {
  const values = new URLSearchParams();
  if (sequence !== null) values.set("sequence", sequence);
  else if (text) values.set("text", text);
  if (fork !== null) values.set("fork", fork);
  if (at.length) values.set("at", at.join("."));
  if (temperature !== 1) values.set("t", temperature);
  if (shelf) values.set("sources", shelf);
  if (latent) values.set("latent", latent);
  return `#${values}`;
}

// What is saved: tokens and where they come from. Numbers are asked for again when it is loaded.
export function saved(state, about) {
  const { tree } = state;
  return {
    kind: "freerun explore", schema_version: about.schema_version, model: about.model.name, fingerprint: about.model.fingerprint,
    text: state.text, base_ids: tree.base,
    branches: tree.leaves().map((node) => ({ ids: tree.nodes(node).map((n) => n.id), origins: node.origins })),
    selected: tree.nodes(state.selected).map((n) => n.id),
  };
}

const MOST_BRANCHES = 400, MOST_IDS = 4096;

// Throws an Error that says what is wrong.
export function checkSaved(value, about) {
  const idsOf = (x, where) => {
    if (!Array.isArray(x) || x.length > MOST_IDS || !x.every((i) => Number.isInteger(i) && i >= 0 && i < about.model.vocabulary)) {
      throw new Error(`${where} are not token ids of ${about.model.name}`);
    }
    return x;
  };
  if (!value || value.kind !== "freerun explore") throw new Error("this is not a tree that this page saved");
  if (value.schema_version !== about.schema_version) throw new Error(`it has version ${String(value.schema_version).slice(0, 20)}, this page reads ${about.schema_version}`);
  if (!Array.isArray(value.branches) || value.branches.length > MOST_BRANCHES) throw new Error(`it needs a list of at most ${MOST_BRANCHES} branches`);
  return {
    text: typeof value.text === "string" ? value.text : "", base: idsOf(value.base_ids, "base_ids"), selected: idsOf(value.selected ?? [], "selected"),
    branches: value.branches.map((b, i) => ({ ids: idsOf(b?.ids, `branches[${i}].ids`), origins: (Array.isArray(b.origins) ? b.origins : []).slice(0, 50).map(originOf).filter(Boolean) })),
    other: value.fingerprint !== about.model.fingerprint ? String(value.model).slice(0, 200) : null,
  };
}

function originOf(o) {
  if (o?.kind === "text" || o?.kind === "chosen") return { kind: o.kind };
  if (o?.kind !== "sampled" || !Number.isInteger(o.seed) || !Number.isInteger(o.number)) return null;
  return { kind: "sampled", seed: o.seed, number: o.number, law: String(o.law).slice(0, 100) };
}
