// Static charts become live ones as they come into view: hover shows values, and an axis can be switched.
(() => {
  "use strict";
  const refused = () => Promise.reject(new Error("this page loads nothing"));
  const loader = { load: refused, sanitize: refused };

  // ---- the box that shows values
  const box = document.createElement("div");
  box.className = "tip";
  box.setAttribute("role", "status");
  document.body.append(box);

  const isPlain = v => v !== null && typeof v === "object" && !Array.isArray(v);
  function show(_, event, item, value) {
    const rows = isPlain(value) ? Object.entries(value) : value == null ? [] : [["", value]];
    box.style.display = rows.length ? "block" : "none";
    if (!rows.length) return;
    box.replaceChildren(...rows.map(([name, text]) => {
      const row = document.createElement("div"), bold = document.createElement("b");
      row.append(name ? name + " " : "", bold);
      bold.textContent = String(text);
      return row;
    }));
    const { width, height } = box.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, window.innerWidth - width - 8);
    const top = event.clientY + height + 24 > window.innerHeight ? event.clientY - height - 12 : event.clientY + 16;
    box.style.left = Math.max(4, left) + "px";
    box.style.top = Math.max(4, top) + "px";
  }
  window.addEventListener("scroll", () => { box.style.display = "none"; }, { passive: true });

  // ---- charts
  const views = new Map();
  const specOf = figure => JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  const isLog = (spec, axis) => {
    const any = v => Array.isArray(v) ? v.some(any) : isPlain(v) && Object.entries(v).some(([k, x]) => k !== "datasets"
      && (k === "encoding" && x[axis] && x[axis].scale && x[axis].scale.type === "log" || any(x)));
    return any(spec);
  };

  // Vega warns of a log axis that is told not to begin at zero.
  const quiet = v => {
    for (const [k, x] of Object.entries(v)) if (k !== "datasets" && x !== null && typeof x === "object") quiet(x);
    if (v.type === "log") delete v.zero;
    return v;
  };

  async function draw(figure, log) {
    const live = figure.querySelector(".live"), axis = figure.dataset.toggle, width = live.clientWidth;
    let spec = specOf(figure);
    if (log !== undefined && log !== isLog(spec, axis)) spec = overbuiltLog(spec, axis, log);
    spec = quiet(overbuiltFit(spec, width));
    const inner = document.createElement("div");
    inner.className = "inner";
    live.append(inner);
    // ast: expressions are worked out from their syntax trees; no text is run as code, which the page's policy forbids
    const { view } = await vegaEmbed(inner, spec, {
      ast: true, actions: false, renderer: "svg", defaultStyle: false, hover: true, tooltip: show, loader, logLevel: 1,
    });
    const before = views.get(figure);
    if (before) {
      before.view.finalize();
      before.inner.remove();
    }
    views.set(figure, { view, inner, log, width });
    figure.classList.add("drawn");
    figure.dataset.state = "live";
  }

  // One after the other, so that scrolling stays smooth. A chart that cannot be drawn keeps its still picture.
  let queue = Promise.resolve();
  const begun = new Set();
  const enqueue = (figure, log) => {
    queue = queue.then(() => draw(figure, log)).catch(error => {
      figure.dataset.state = "still";
      console.error(figure.id, error);
    });
    return queue;
  };
  const wake = figure => {
    if (begun.has(figure)) return;
    begun.add(figure);
    enqueue(figure);
  };

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const near = new IntersectionObserver(entries => {
    for (const e of entries) if (e.isIntersecting) {
      near.unobserve(e.target);
      wake(e.target);
    }
  }, { rootMargin: "300px 0px" });
  for (const figure of figures) {
    for (const kind of ["pointerenter", "click", "focusin"]) figure.addEventListener(kind, () => wake(figure), { once: true });
    near.observe(figure);
    const button = figure.querySelector("button.toggle");
    if (!button) continue;
    let log = isLog(specOf(figure), figure.dataset.toggle);
    const say = () => {
      button.textContent = log ? "Linear axis" : "Log axis";
    };
    say();
    button.hidden = false;
    button.addEventListener("click", () => {
      log = !log;
      say();
      begun.add(figure);
      enqueue(figure, log);
    });
  }

  // Vega follows its container's width when the window changes; small multiples are laid out again.
  let later;
  window.addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(() => {
      for (const [figure, { inner, log, width }] of views)
        if (inner.parentElement.clientWidth !== width) enqueue(figure, log);
    }, 200);
  });

  // All at once, for whoever asks: every chart live, then done.
  window.overbuiltDrawAll = async () => {
    for (const figure of figures) wake(figure);
    await queue;
    return figures.map(f => [f.id, f.dataset.state]);
  };

  // A printed page has every table open that fits a page.
  const folded = new Set();
  window.addEventListener("beforeprint", () => {
    for (const d of document.querySelectorAll("details[data-print]")) if (!d.open) {
      folded.add(d);
      d.open = true;
    }
  });
  window.addEventListener("afterprint", () => {
    for (const d of folded) d.open = false;
    folded.clear();
  });
})();
