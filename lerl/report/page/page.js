"use strict";
// Session replay: unpacks the kept sessions, and shows one step of one session with one agent or two.
(async () => {
  const by = (id) => document.getElementById(id);
  if (!("DecompressionStream" in window)) return; // the plain tables stay
  const bytes = Uint8Array.from(atob(by("packed").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = JSON.parse(await new Response(stream).text());
  const NONE = "";

  function make(tag, text, style) {
    const found = document.createElement(tag);
    if (text !== undefined) found.textContent = text; // never markup: titles are other people's words
    if (style) found.className = style;
    return found;
  }
  function options(select, entries, first) {
    select.replaceChildren(...entries.map(([value, text]) => {
      const option = make("option", text);
      option.value = value;
      return option;
    }));
    select.value = first;
  }

  const seeds = new Set(data.people.map((person) => person[0]));
  const named = ([seed, user, replicate]) =>
    `user ${user}, session ${replicate + 1}${seeds.size > 1 ? `, seed ${seed}` : ""}`;
  const place = { agent: 0, beside: NONE, person: 0, step: 1 };

  const session = (agent) => data.sessions[agent][place.person];
  const steps = (agent) => (session(agent) ? session(agent).i.length : 0);
  const longest = () => Math.max(steps(place.agent), place.beside === NONE ? 0 : steps(place.beside), 1);

  function chips(names, style) {
    const list = make("ul", undefined, "chips");
    for (const name of names.slice(0, 12)) list.append(make("li", name, style));
    if (names.length > 12) list.append(make("li", `and ${names.length - 12} more`, "more"));
    return list;
  }
  function bars(pairs, most) {
    const list = make("dl", undefined, "bars");
    for (const [name, value] of pairs) {
      const bar = make("meter");
      bar.max = most;
      bar.value = value;
      const [term, drawn, number] = [make("dt", name), make("dd"), make("dd", value.toFixed(2))];
      term.title = name;
      drawn.append(bar);
      list.append(term, drawn, number);
    }
    return list;
  }
  function sparkline(values, at, label) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 360 60");
    svg.setAttribute("class", "panel");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    const across = (step) => 6 + (348 * (step - 1)) / Math.max(longest() - 1, 1);
    const down = (value) => 54 - 0.48 * value;
    const part = (name, settings) => {
      const found = document.createElementNS(space, name);
      for (const [key, value] of Object.entries(settings)) found.setAttribute(key, value);
      svg.append(found);
    };
    for (const level of [0, 50, 100]) part("line", { class: "guide", x1: 6, x2: 354, y1: down(level), y2: down(level) });
    part("path", { class: "line learned", d: "M" + values.map((v, n) => `${across(n + 1)},${down(v)}`).join("L") });
    if (at <= values.length) part("circle", { class: "dot reference", cx: across(at), cy: down(values[at - 1]), r: 4 });
    return svg;
  }
  function secret(found, at) {
    const box = make("div", undefined, "secret");
    box.append(make("h4", "Hidden from agents"));
    const now = at - 1;
    if (found.s[now] === null) return box;
    box.append(make("p", `satisfaction after this slate ${(found.s[now] / 100).toFixed(2)} of 1`));
    box.append(sparkline(found.s, at, `satisfaction by step, now ${(found.s[now] / 100).toFixed(2)}`));
    const boredom = found.b[now] || [];
    const sides = [place.agent, place.beside].filter((agent) => agent !== NONE && session(agent));
    const most = Math.max(...sides.flatMap((agent) => session(agent).b.flatMap((row) => row || [0])), 1) / 100;
    const pairs = boredom.map((value, topic) => [data.topics[topic] || `topic ${topic + 1}`, value / 100]);
    const felt = pairs.filter((pair) => pair[1] >= 0.01).sort((a, b) => b[1] - a[1]).slice(0, 8);
    box.append(make("h4", felt.length ? "bored of (1: a whole slate of the topic, just shown)" : "bored of nothing"));
    if (felt.length) box.append(bars(felt, most));
    return box;
  }
  function question(found, now) {
    const asked = found.q[now] < 0 ? null : data.questions[found.q[now]];
    if (!asked) return [];
    const [system, user, answer, cause] = asked;
    const details = make("details");
    details.append(make("summary", "What the planner's model was asked, and what answered"));
    for (const [name, text] of [["instructions", system], ["question", user], [cause ? `answer, not used: ${cause}` : "answer", answer]]) {
      details.append(make("h4", name), make("p", text, "said"));
    }
    return [details];
  }
  function ending(agent, found) {
    const why = by("app").dataset.leaving;
    return found.l ? `The user left after this slate.${why ? ` People leave ${why}.` : ""}` : "The last slate that a session can have.";
  }
  function show(article, agent) {
    article.hidden = agent === NONE;
    if (agent === NONE) return "";
    const found = session(agent), open = article.querySelector("details")?.open;
    const held = article.contains(document.activeElement);
    article.replaceChildren(make("h3", data.agents[agent]));
    if (!found) {
      article.append(make("p", "This session was not kept."));
      return "";
    }
    const at = Math.min(place.step, found.i.length), now = at - 1;
    const earned = found.r.slice(0, at).reduce((sum, value) => sum + value, 0) / 10000;
    const over = place.step > found.i.length;
    article.append(make("p", over ? `ended after step ${found.i.length}, R_cum ${earned.toFixed(2)}; this is the last slate`
      : `step ${at} of ${found.i.length}, R_cum so far ${earned.toFixed(2)}`));
    const slate = make("ol", undefined, "slate");
    let clicked = 0;
    found.i[now].forEach((item, slot) => {
      const [title, categories] = item < 0 ? ["nothing: shown before", []] : data.items[item];
      const yes = found.c[now][slot] > 0;
      clicked += yes ? 1 : 0;
      const line = make("li", undefined, yes ? "clicked" : "");
      const text = make("span", title);
      if (yes) text.append(" ", make("span", found.c[now][slot] === 100 ? "✓ clicked" : `✓ ${found.c[now][slot] / 100}`, "mark"));
      text.append(make("br"), make("small", categories.map((name) => data.names[name]).join(", ")));
      line.append(text);
      slate.append(line);
    });
    article.append(slate);
    if (at === found.i.length) article.append(make("p", ending(agent, found)));
    if (found.p[now] < 0) article.append(make("p", "No plan: this agent chooses items by itself.", "note"));
    else {
      const [allowed, avoided] = data.plans[found.p[now]].map((list) => list.map((name) => data.names[name]));
      article.append(make("h4", "Plan: items from"), chips(allowed, ""));
      if (avoided.length) article.append(make("h4", "but none from"), chips(avoided, "avoided"));
    }
    const why = data.words[found.w[now]];
    if (why) article.append(make("h4", "Rationale"), make("p", why));
    article.append(...question(found, now), secret(found, at));
    if (open) article.querySelector("details")?.setAttribute("open", "");
    if (held) article.querySelector("summary")?.focus();
    if (over) return `${data.agents[agent]}: ended after step ${found.i.length}. `;
    return `${data.agents[agent]}: step ${at} of ${found.i.length}, ${clicked} of ${found.i[now].length} clicked. `;
  }
  function draw() {
    place.step = Math.min(Math.max(place.step, 1), longest());
    by("agent").value = place.agent;
    by("beside").value = place.beside;
    by("person").value = place.person;
    by("step").max = longest();
    by("step").value = place.step;
    by("at").textContent = `${place.step} of ${longest()}`;
    by("said").textContent = show(by("one"), place.agent) + show(by("two"), place.beside);
  }
  function keep() {
    const words = new URLSearchParams({ agent: data.agents[place.agent], person: data.people[place.person].join("-"), step: place.step });
    if (place.beside !== NONE) words.set("beside", data.agents[place.beside]);
    history.replaceState(null, "", `#replay?${words}`);
  }
  function read() {
    const [where, words] = location.hash.split("?");
    if (where !== "#replay" || !words) return false;
    const given = new URLSearchParams(words), known = (name) => data.agents.indexOf(given.get(name));
    if (known("agent") >= 0) place.agent = known("agent");
    place.beside = known("beside") >= 0 ? known("beside") : NONE;
    const person = data.people.findIndex((one) => one.join("-") === given.get("person"));
    if (person >= 0) place.person = person;
    place.step = parseInt(given.get("step"), 10) || 1;
    return true;
  }
  function go(change) {
    Object.assign(place, change);
    draw();
    keep();
  }

  let timer = null;
  function play(on) {
    clearInterval(timer);
    if (on && place.step >= longest()) go({ step: 1 });
    timer = on ? setInterval(() => (place.step < longest() ? go({ step: place.step + 1 }) : play(false)), 900) : null;
    by("play").textContent = on ? "pause" : "play";
    by("play").setAttribute("aria-pressed", on);
  }

  const agents = data.agents.map((name, number) => [number, name]);
  options(by("agent"), agents, 0);
  options(by("beside"), [[NONE, "nobody"], ...agents], NONE);
  options(by("person"), data.people.map((person, number) => [number, named(person)]), 0);
  const listen = (id, name, change) => by(id).addEventListener(name, () => go(change()));
  listen("agent", "change", () => ({ agent: Number(by("agent").value) }));
  listen("beside", "change", () => ({ beside: by("beside").value === NONE ? NONE : Number(by("beside").value) }));
  listen("person", "change", () => ({ person: Number(by("person").value), step: 1 }));
  listen("step", "input", () => ({ step: Number(by("step").value) }));
  listen("back", "click", () => ({ step: place.step - 1 }));
  listen("on", "click", () => ({ step: place.step + 1 }));
  by("play").addEventListener("click", () => play(timer === null));
  by("app").querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    const letter = event.key === "j" || event.key === "k";
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (event.target.tagName === "INPUT" && !letter) return; // the slider has keys of its own
    if (event.target.closest(".scroll, pre")) return;
    const box = by("app").getBoundingClientRect(), middle = window.innerHeight / 2;
    if (box.bottom < middle || box.top > middle) return; // only while it is what one looks at
    const last = data.people.length - 1;
    const change = {
      ArrowLeft: { step: place.step - 1 }, ArrowRight: { step: place.step + 1 },
      Home: { step: 1 }, End: { step: longest() },
      j: { person: Math.min(place.person + 1, last), step: 1 }, k: { person: Math.max(place.person - 1, 0), step: 1 },
    }[event.key];
    if (!change) return;
    event.preventDefault();
    go(change);
  });
  window.addEventListener("hashchange", () => read() && go({}));

  place.agent = Math.max(data.agents.indexOf(by("app").dataset.first), 0);
  const second = data.agents.indexOf(by("app").dataset.second);
  place.beside = second < 0 ? NONE : second;
  place.person = Number(by("app").dataset.person);
  const linked = read();
  by("plain").hidden = true;
  by("app").hidden = false;
  draw();
  if (linked) {
    keep(); // what the address names is what is shown
    by("replay").scrollIntoView();
  }
})();
