// The live view in Setup mode: one camera, its focus and its exposure.
const EVERY_MS = 250;
const $ = (id) => document.getElementById(id);

/** A bar with the highest value so far; `full` is its right end, null: the highest value is. */
class Gauge {
  constructor(id, full, words, warn = () => false) {
    Object.assign(this, { element: $(id), full, words, warn });
    this.forget();
  }

  forget() {
    this.peak = 0;
  }

  show(value) {
    const part = (selector) => this.element.querySelector(selector);
    this.peak = Math.max(this.peak, value ?? 0);
    const full = this.full ?? this.peak * 1.1;
    const width = (amount) => `${full ? Math.min(100, (100 * amount) / full) : 0}%`;
    part(".level").style.width = width(value ?? 0);
    part(".peak").style.left = width(this.peak);
    part(".value").textContent = value === null ? "–" : this.words(value);
    this.element.dataset.warn = String(this.warn(value ?? 0));
  }
}

export class LiveView {
  constructor(ask) {
    this.ask = ask;
    this.camera = "";
    this.running = false;
    this.gauges = {
      sharpness: new Gauge("gauge-sharpness", null, (value) => value.toFixed(value < 10 ? 2 : 0)),
      mean: new Gauge("gauge-mean", 1, (value) => `${(100 * value).toFixed(0)} %`),
      saturated: new Gauge("gauge-saturated", 0.1, (value) => `${(100 * value).toFixed(1)} %`, (value) => value > 0.01),
    };
    $("forget-peaks").addEventListener("click", () => this.forget());
  }

  /** Watch one of `cameras`, or stop. */
  show(on, cameras) {
    if (on && cameras.length && !cameras.includes(this.camera)) this.select(cameras[0], cameras);
    if (on && !this.running) this.watch();
    this.running = on;
  }

  select(camera, cameras) {
    this.camera = camera;
    this.forget();
    $("live-shot").hidden = true;
    $("live-none").hidden = false;
    $("cameras").replaceChildren(
      ...cameras.map((name) => {
        const tab = Object.assign(document.createElement("button"), { type: "button", textContent: name });
        tab.setAttribute("role", "tab");
        tab.setAttribute("aria-selected", String(name === camera));
        tab.addEventListener("click", () => this.select(name, cameras));
        return tab;
      }),
    );
  }

  forget() {
    for (const gauge of Object.values(this.gauges)) {
      gauge.forget();
      gauge.show(null);
    }
  }

  async watch() {
    this.running = true;
    while (this.running) {
      const camera = this.camera;
      try {
        const view = await this.ask(`/v1/live/${encodeURIComponent(camera)}`);
        if (camera === this.camera) this.draw(view);
        $("live-text").textContent = view.age_ms > 2000 ? "This camera brings no new pictures." : "";
      } catch (error) {
        $("live-text").textContent = error.message;
        $("live-shot").hidden = true;
        $("live-none").hidden = false;
      }
      await new Promise((done) => setTimeout(done, EVERY_MS));
    }
  }

  draw(view) {
    $("live-shot").hidden = view.jpeg === null;
    $("live-none").hidden = view.jpeg !== null;
    if (view.jpeg !== null) $("live-shot").src = `data:image/jpeg;base64,${view.jpeg}`;
    for (const [name, gauge] of Object.entries(this.gauges)) gauge.show(view[name]);
  }
}
