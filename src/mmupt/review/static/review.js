// The review page: keys, pictures, the clock, and verdicts that are sent until they are stored.
"use strict";
(() => {
  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const form = find("#verdict"), undo = find("#undo"), help = find("#help"), banner = find("#banner");
  const words = document.body.dataset;

  for (const shy of all(".tools, .help, .toggle")) shy.hidden = false;

  // --- the clock: seconds for which the page was to be seen --------------------------------------
  let spent = 0, since = document.visibilityState === "visible" ? performance.now() : null;
  const seconds = () => (spent + (since === null ? 0 : performance.now() - since)) / 1000;
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") { since = performance.now(); return; }
    if (since !== null) spent += performance.now() - since;
    since = null;
  });

  // --- sending -------------------------------------------------------------------------------------
  const uuid = () => {
    const b = crypto.getRandomValues(new Uint8Array(16));
    b[6] = (b[6] & 0x0f) | 0x40; b[8] = (b[8] & 0x3f) | 0x80;
    const hex = [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  };
  const tell = (text) => { banner.textContent = text; banner.hidden = !text; };
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  let sending = false, lost = false;

  // --- the claim: renewed as long as somebody looks; who was away too long may have lost it ------------
  const lose = () => {
    lost = true;
    tell("");
    for (const one of form.querySelectorAll("button, input, textarea")) one.disabled = true;
    form.classList.add("over");
    const note = find("#lost");
    note.hidden = false;
    note.scrollIntoView({ block: "nearest" });
    find("a", note).dataset.do = "next";
  };
  let acted = performance.now();
  for (const sign of ["pointermove", "pointerdown", "keydown", "wheel"]) document.addEventListener(sign, () => { acted = performance.now(); }, { passive: true });
  const every = Number(form?.dataset.renew || 0) * 1000;
  const renew = async () => {
    if (lost || sending || document.visibilityState !== "visible" || performance.now() - acted > 7 * every) return;
    const data = new URLSearchParams(new FormData(form));
    try {
      const reply = await fetch("/hold", { method: "POST", body: data, headers: { Accept: "application/json" }, signal: AbortSignal.timeout(15000) });
      if (reply.status === 409) lose();
    } catch { /* the next time; the verdict itself is checked as well */ }
  };
  if (every) {
    setInterval(renew, every);
    document.addEventListener("visibilitychange", () => { acted = performance.now(); renew(); });
  }

  // One key for one verdict, however often it has to be sent: the store keeps it once.
  const send = async (from, kind) => {
    if (sending || (lost && from === form)) return;
    sending = true;
    document.body.setAttribute("aria-busy", "true");
    const data = new URLSearchParams(new FormData(from));
    data.set("kind", kind);
    data.set("key", uuid());
    data.set("seconds", kind === "undo" ? "0" : seconds().toFixed(1));
    if (!showsVotes()) data.set("then", "next");
    for (let attempt = 0; ; attempt++) {
      let reply = null;
      try {
        reply = await fetch("/verdict", { method: "POST", body: data, headers: { Accept: "application/json" }, signal: AbortSignal.timeout(15000) });
      } catch { /* no answer: again */ }
      if (reply && reply.ok) { location.assign((await reply.json()).next); return; }
      if (reply && reply.status < 500) {
        const told = (reply.headers.get("Content-Type") || "").includes("json") ? await reply.json() : { error: words.lost };
        if (told.taken) lose(); else tell(told.error);
        break;
      }
      tell(words.retrying);
      await pause(Math.min(4000, 300 * 2 ** attempt));
    }
    sending = false;
    document.body.removeAttribute("aria-busy");
  };
  for (const one of [form, undo]) {
    one?.addEventListener("submit", (event) => {
      event.preventDefault();
      const kind = event.submitter?.value || "correct";
      if (kind === "correct" && !find("#answer").value.trim()) { find("#answer").focus(); return; }
      send(one, kind);
    });
  }
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // --- votes after each verdict, or on at once ------------------------------------------------------
  const toggle = find("#votes-after");
  const keep = (value) => { try { localStorage.setItem("mmupt-votes-after", value); } catch { /* private window */ } };
  const kept = () => { try { return localStorage.getItem("mmupt-votes-after"); } catch { return null; } };
  function showsVotes() { return !toggle || toggle.checked; }
  if (toggle) {
    toggle.checked = kept() !== "no";
    toggle.addEventListener("change", () => keep(toggle.checked ? "yes" : "no"));
  }

  // --- pictures ----------------------------------------------------------------------------------------
  const level = find("#level"), light = find("#light");
  const frames = all("[data-frame]").map((box) => ({ box, image: find("img", box), zoom: 1, x: 0, y: 0 }));
  let chosen = frames[0] || null;
  const draw = (frame, smooth) => {
    const { image } = frame;
    image.classList.toggle("smooth", Boolean(smooth));
    image.classList.toggle("tiny", frame.zoom > 2 && image.naturalWidth * 3 < frame.box.clientWidth);
    image.style.transform = `translate(${frame.x}px, ${frame.y}px) scale(${frame.zoom})`;
    if (frame === chosen && level) level.textContent = `${Math.round(frame.zoom * 100)}%`;
  };
  const choose = (frame) => {
    chosen = frame;
    for (const one of frames) one.box.classList.toggle("chosen", frames.length > 1 && one === frame);
    draw(frame);
  };
  const bound = (frame) => {  // some of the picture stays in sight
    const w = frame.box.clientWidth, h = frame.box.clientHeight;
    frame.x = Math.min(w * 0.8, Math.max(w * 0.2 - w * frame.zoom, frame.x));
    frame.y = Math.min(h * 0.8, Math.max(h * 0.2 - h * frame.zoom, frame.y));
    if (frame.zoom === 1) frame.x = frame.y = 0;
  };
  const zoom = (frame, factor, at, smooth) => {
    if (!frame) return;
    const box = frame.image, old = frame.zoom;
    const x = at ? at.x : frame.box.clientWidth / 2, y = at ? at.y : frame.box.clientHeight / 2;
    frame.zoom = Math.min(40, Math.max(1, old * factor));
    if (frame.zoom < 1.02) frame.zoom = 1;
    const grown = frame.zoom / old;
    frame.x = x - box.offsetLeft - (x - box.offsetLeft - frame.x) * grown;
    frame.y = y - box.offsetTop - (y - box.offsetTop - frame.y) * grown;
    bound(frame); draw(frame, smooth);
  };
  const fit = (frame) => { if (frame) { Object.assign(frame, { zoom: 1, x: 0, y: 0 }); draw(frame, true); } };
  const pan = (frame, x, y) => { if (frame && frame.zoom > 1) { frame.x += x; frame.y += y; bound(frame); draw(frame); } };
  const lighten = (step) => {
    if (!light) return;
    light.value = Number(light.value) + step;
    for (const frame of frames) frame.image.style.filter = light.value === "100" ? "" : `brightness(${light.value}%)`;
  };
  light?.addEventListener("input", () => lighten(0));
  for (const frame of frames) {
    const { box, image } = frame, fingers = new Map();
    const place = (event) => { const r = box.getBoundingClientRect(); return { x: event.clientX - r.left, y: event.clientY - r.top }; };
    image.addEventListener("error", () => { box.classList.add("bad"); box.textContent = words.badPicture; });
    box.addEventListener("focus", () => choose(frame));
    box.addEventListener("wheel", (event) => { event.preventDefault(); choose(frame); zoom(frame, Math.exp(-event.deltaY * 0.0016), place(event)); }, { passive: false });
    box.addEventListener("dblclick", (event) => { frame.zoom > 1 ? fit(frame) : zoom(frame, 3, place(event), true); });
    box.addEventListener("pointerdown", (event) => { choose(frame); fingers.set(event.pointerId, place(event)); box.setPointerCapture(event.pointerId); box.classList.add("dragging"); });
    box.addEventListener("pointermove", (event) => {
      const old = fingers.get(event.pointerId);
      if (!old) return;
      const now = place(event);
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const reach = (p) => Math.max(20, Math.hypot(p.x - other.x, p.y - other.y));
        zoom(frame, reach(now) / reach(old), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
      } else pan(frame, now.x - old.x, now.y - old.y);
      fingers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, (event) => { fingers.delete(event.pointerId); box.classList.remove("dragging"); });
  }
  if (chosen) choose(chosen);
  // Several pictures: so many beside each other that they are largest.
  const arrange = () => {
    const room = find(".frames"), known = frames.filter(({ image }) => image.naturalWidth);
    const count = room ? room.children.length : 0;
    if (count < 2 || !known.length) return;
    const shape = known.reduce((sum, { image }) => sum + image.naturalWidth / image.naturalHeight, 0) / known.length;
    let best = [0, 1];
    for (let columns = count; columns >= 1; columns--) {
      const rows = Math.ceil(count / columns);
      const width = Math.min(room.clientWidth / columns, (room.clientHeight / rows) * shape);
      if (width > best[0] * 1.05) best = [width, columns];
    }
    room.style.gridAutoFlow = "row";
    room.style.gridTemplateColumns = `repeat(${best[1]}, minmax(0, 1fr))`;
    room.style.gridTemplateRows = `repeat(${Math.ceil(count / best[1])}, minmax(0, 1fr))`;
    for (const frame of frames) fit(frame);
  };
  for (const { image } of frames) image.addEventListener("load", arrange);
  window.addEventListener("resize", arrange);
  arrange();

  // --- what can be done, by key or button ------------------------------------------------------------
  const press = (kind) => () => { if (form) send(form, kind); };
  const follow = (name) => () => { if (!sending) find(`[data-do="${name}"]`)?.click(); };
  const acts = {
    accept: press("accept"), reject: press("reject"), unsure: press("unsure"), skip: press("skip"),
    correct: () => find("#answer")?.focus(),
    comment: () => { const box = find(".comment"); if (box) { box.open = true; find("#comment").focus(); } },
    undo: () => { if (undo) send(undo, "undo"); },
    next: follow("next"), previous: follow("previous"),
    in: () => zoom(chosen, 1.4, null, true), out: () => zoom(chosen, 1 / 1.4, null, true), fit: () => fit(chosen),
    full: () => { document.fullscreenElement ? document.exitFullscreen() : find(".stage")?.requestFullscreen?.(); },
    help: () => { help.open ? help.close() : help.showModal(); },
    votes: () => toggle?.click(),
    progress: () => find('nav a[href^="/progress"]')?.click(),
    disputes: () => find("nav a.differ")?.click(),
    lang: () => find('.who form button[name="lang"]')?.click(),
    darker: () => lighten(-10), brighter: () => lighten(10),
  };
  const keys = {
    a: "accept", r: "reject", c: "correct", d: "unsure", s: "skip", m: "comment", u: "undo",
    n: "next", arrowright: "next", enter: "next", p: "previous", arrowleft: "previous",
    "+": "in", "=": "in", ";": "in", "-": "out", 0: "fit", f: "full", "?": "help", v: "votes", g: "progress", q: "disputes", l: "lang",
    "[": "darker", "]": "brighter",
  };
  const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    if (button) acts[button.dataset.do]?.();
  });
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target;
    if (event.key === "Escape" && at.matches("input, textarea, select")) { at.blur(); return; }
    if (at.matches("textarea, select, input:not([type=range], [type=checkbox])")) return;
    if (help?.open) { if (event.key === "?") help.close(); return; }
    if (event.key === "Enter" && at.closest("a, button, summary")) return;
    if (event.shiftKey && moves[event.key]) { event.preventDefault(); pan(chosen, ...moves[event.key]); return; }
    if (at.matches("[type=range]") && event.key.startsWith("Arrow")) return;
    if (event.key === "Enter" && lost) { event.preventDefault(); find("#lost a").click(); return; }
    if (event.repeat && !["+", "-", "[", "]"].includes(event.key)) return;
    if (/^[1-9]$/.test(event.key)) { const frame = frames[event.key - 1]; if (frame) { choose(frame); frame.box.focus(); } return; }
    // With a Japanese input method on, only the key's place tells which letter is meant.
    const letter = event.key === "Process" && event.code.startsWith("Key") ? event.code.slice(3) : event.key;
    const act = keys[letter.toLowerCase()];
    if (act) { event.preventDefault(); acts[act](); }
  });

  // --- where the audit stands: others judge meanwhile ---------------------------------------------------
  const standing = find("#standing[data-from]");
  const refresh = async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const reply = await fetch(standing.dataset.from, { signal: AbortSignal.timeout(10000) });
      if (reply.ok) standing.innerHTML = await reply.text();
    } catch { /* the next time */ }
    if (find("[data-stale]", standing)) setTimeout(refresh, 2500);
  };
  if (standing && document.body.classList.contains("reviewing")) {
    if (find("[data-stale]", standing)) setTimeout(refresh, 1500);
    setInterval(refresh, 20000);
  }
})();
