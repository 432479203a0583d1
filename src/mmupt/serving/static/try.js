"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const words = JSON.parse(document.body.dataset.words);
  const say = (key, values) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const percent = (value) => `${Math.round(100 * value)}%`;
  let files = [];

  const show = () => {
    const list = $("pictures");
    list.replaceChildren(...files.map((file) => {
      const item = document.createElement("div");
      item.setAttribute("role", "listitem");
      const image = new Image();
      image.src = URL.createObjectURL(file);
      image.onload = () => URL.revokeObjectURL(image.src);
      image.alt = file.name;
      item.append(image);
      return item;
    }));
    $("clear").hidden = files.length === 0;
  };
  const add = (more) => {
    files = [...files, ...[...more].filter((file) => file.type.startsWith("image/"))].slice(0, 8);
    show();
  };

  $("files").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
  $("clear").addEventListener("click", () => { files = []; show(); $("files").focus(); });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
  }
  document.addEventListener("drop", (event) => add(event.dataTransfer.files));
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) add(event.clipboardData.files); });

  const base64 = (file) => new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = failed;
    reader.readAsDataURL(file);
  });
  const cell = (row, text, kind) => {
    const made = row.insertCell();
    made.textContent = text;
    if (kind) made.className = kind;
  };

  const draw = (result) => {
    const groups = new Map();
    for (const one of result.answers) {
      const key = one.class === null ? "" : String(one.class);
      const group = groups.get(key) || { answer: one.class === null ? words.abstained : one.answer, count: 0, key };
      group.count += 1;
      groups.set(key, group);
    }
    const order = [...groups.values()].sort((a, b) => (a.key === "") - (b.key === "") || b.count - a.count);
    $("label").textContent = result.label === null ? words[result.tied ? "tied" : "none"] : result.label;
    $("share").textContent = say("share", { share: percent(result.share), count: result.answers.length });
    const namespace = "http://www.w3.org/2000/svg";
    $("bars").replaceChildren(...order.flatMap((group, index) => {
      const what = document.createElement("span");
      what.className = "what";
      what.textContent = group.answer;
      const svg = document.createElementNS(namespace, "svg");
      svg.setAttribute("viewBox", "0 0 100 10");
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true");
      for (const [kind, width] of [["track", 100], [index === 0 && group.key !== "" ? "bar first" : "bar", 100 * group.count / result.answers.length]]) {
        const rect = document.createElementNS(namespace, "rect");
        rect.setAttribute("class", kind);
        rect.setAttribute("width", width);
        rect.setAttribute("height", 10);
        svg.append(rect);
      }
      const count = document.createElement("span");
      count.className = "count";
      count.textContent = group.count;
      return [what, svg, count];
    }));
    $("kept").textContent = result.kept ? words.kept : say("not_kept", { share: percent(result.min_share) });
    $("answers").replaceChildren();
    for (const one of result.answers) {
      const row = $("answers").insertRow();
      cell(row, one.answer === null ? (one.truncated ? words.cut : words.abstained) : one.answer);
      cell(row, one.view + 1, "number");
      cell(row, one.text, "text");
      cell(row, percent(one.probability), "number");
    }
    $("result").hidden = false;
    $("state").textContent = say("seconds", { seconds: result.seconds.toFixed(1) });
  };

  $("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    const state = $("state");
    $("send").disabled = true;
    state.className = "";
    state.textContent = words.asking;
    try {
      const headers = { "Content-Type": "application/json" };
      if ($("key")) headers.Authorization = `Bearer ${$("key").value}`;
      const body = JSON.stringify({
        problem: $("problem").value,
        pictures: await Promise.all(files.map(base64)),
        samples: Number($("samples").value),
        views: Number($("views").value),
        temperature: Number($("temperature").value),
        seed: crypto.getRandomValues(new Uint32Array(1))[0] >>> 1,
      });
      const reply = await fetch("try", { method: "POST", headers, body });
      const result = await reply.json();
      if (!reply.ok) throw new Error(result.error.message);
      draw(result);
    } catch (problem) {
      state.className = "wrong";
      state.textContent = problem instanceof TypeError ? words.failed : problem.message;
    } finally {
      $("send").disabled = false;
    }
  });
})();
