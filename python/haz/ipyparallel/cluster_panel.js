// The panel of clusters: shows those that run, starts and stops them. A module of anywidget's form; the
// page of `haz cluster page` gives it a model that asks by HTTP.

const PERIOD_MS = 2000;

const STYLE = `
.haz-clusters { font: 14px/1.5 system-ui, sans-serif; max-width: 46em; }
.haz-clusters table { border-collapse: collapse; width: 100%; margin: 0 0 .8em; }
.haz-clusters th, .haz-clusters td { text-align: left; padding: .3em .8em .3em 0;
  border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
.haz-clusters form { display: flex; gap: .8em; align-items: end; flex-wrap: wrap; }
.haz-clusters label { display: flex; flex-direction: column; }
.haz-clusters input { font: inherit; width: 10em; }
.haz-clusters input[type=number] { width: 5em; }
.haz-clusters button { font: inherit; padding: .1em .9em; cursor: pointer; }
.haz-clusters button:disabled { cursor: default; }
.haz-clusters .error { color: #b3261e; white-space: pre-wrap; }
.haz-clusters .none { opacity: .7; }
`;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function engines(ids) {
  const shown = ids.length > 12 ? [...ids.slice(0, 10), "…", ids.at(-1)] : ids;
  return `${ids.length} (${shown.join(", ")})`;
}

function render({ model, el }) {
  const rows = element("tbody");
  const none = element("p", { className: "none", textContent: "…" });
  const head = ["Name", "Engines", "Where", ""].map((text) => element("th", { textContent: text }));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), rows);
  const name = element("input", { name: "name", value: "default", required: true });
  const count = element("input", { name: "n", type: "number", min: "1", required: true });
  const start = element("button", { type: "submit", textContent: "Start" });
  const form = element("form", {}, element("label", {}, "Name", name),
    element("label", {}, "Engines", count), start);
  const said = element("p", { role: "status" });
  let pending = 0;
  let shown = null;

  function ask(request) {
    if (request.op !== "list") {
      pending += 1;
      said.className = "";
      said.textContent = request.op === "start" ? `Starting ${request.name} …` : `Stopping ${request.name} …`;
      setBusy();
    }
    model.send(request);
  }

  function setBusy() {
    for (const button of el.querySelectorAll("button")) button.disabled = pending > 0;
  }

  function row(cluster) {
    const stop = element("button", { type: "button", textContent: "Stop" });
    stop.setAttribute("aria-label", `Stop ${cluster.name}`);
    stop.onclick = () => ask({ op: "stop", name: cluster.name, where: cluster.where });
    const where = cluster.where === "shared" ? "this machine" : "this program";
    const cells = [cluster.name, engines(cluster.engines), where, stop];
    return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
  }

  function take(message) {
    if (message.op !== "list") {
      pending = Math.max(0, pending - 1);
      said.className = message.error ? "error" : "";
      said.textContent = message.error ?? message.said;
    } else if (message.error) {
      said.className = "error";
      said.textContent = message.error;
    }
    if (message.clusters) {
      if (!count.value) count.value = message.cpus;
      const state = JSON.stringify(message.clusters);
      if (state !== shown) {
        shown = state;
        rows.replaceChildren(...message.clusters.map(row));
        none.textContent = "No cluster runs.";
        none.hidden = message.clusters.length > 0;
        table.hidden = !none.hidden;
      }
    }
    setBusy();
  }

  form.onsubmit = (event) => {
    event.preventDefault();
    ask({ op: "start", name: name.value.trim(), n: Number(count.value) });
  };
  el.classList.add("haz-clusters");
  el.append(element("style", { textContent: STYLE }), none, table, form, said);
  table.hidden = true;
  model.on("msg:custom", take);
  ask({ op: "list" });
  const timer = setInterval(() => { if (!document.hidden) ask({ op: "list" }); }, PERIOD_MS);
  return () => {
    clearInterval(timer);
    model.off("msg:custom", take);
  };
}

export default { render };
