// People's browsers. Whatever they open: nothing asks another host, no script fails or is stopped by the page's policy, no
// dialog opens, and nothing that was planted becomes a part of the page; `faults` says what did.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

// NODE_PATH is for `require` alone.
const { chromium } = createRequire(import.meta.url)("playwright-core");

export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844, isMobile: true, hasTouch: true };
const LONGEST_WAIT = 10_000;
const MOST_TABS = 200;

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
}

/** A browser of one person: its own cookies, one page. */
export class Visitor {
  static async arrive(browser, node, options = {}) {
    const visitor = new Visitor();
    const { width, height, person, ...rest } = { ...DESKTOP, ...options };
    visitor.node = node;
    visitor.faults = [];
    // Statuses that the test asks for: browsers report them as errors.
    visitor.expected = new Set();
    visitor.context = await browser.newContext({ viewport: { width, height }, ...rest });
    visitor.context.setDefaultTimeout(LONGEST_WAIT);
    visitor.context.on("page", (page) => visitor.watch(page));
    await visitor.context.addInitScript(watchFromWithin);
    visitor.page = await visitor.context.newPage();
    if (person) await visitor.carry(person);
    return visitor;
  }

  watch(page) {
    page.on("pageerror", (error) => this.faults.push(`script: ${error}`));
    page.on("dialog", async (dialog) => {
      this.faults.push(`dialog: ${dialog.message()}`);
      await dialog.dismiss();
    });
    page.on("console", (message) => this.hear(message));
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(`${this.node.origin}/`) && !url.startsWith("data:")) this.faults.push(`another host: ${url}`);
    });
  }

  hear(message) {
    if (!["error", "warning"].includes(message.type())) return;
    const status = /the server responded with a status of (\d+)/.exec(message.text())?.[1];
    if (!this.expected.has(Number(status))) this.faults.push(`console: ${message.text()} ${message.location().url}`);
  }

  /** Puts the person's session into the browser, as signing in would; the pages of signing in have their own test. */
  carry({ token }) {
    const cookie = { name: "salesos_webhooks_session", value: token, domain: "127.0.0.1", path: "/dashboard" };
    return this.context.addCookies([{ ...cookie, httpOnly: true, sameSite: "Strict" }]);
  }

  /** Opens a page below /dashboard; it must answer `status`. */
  async open(path = "", status = 200) {
    if (status >= 400) this.expected.add(status);
    const answer = await this.page.goto(`${this.node.origin}/dashboard${path}`);
    assert.equal(answer.status(), status, `GET /dashboard${path}`);
    return answer;
  }

  /** Presses a button or a link, and waits for the page that follows; gives its answer. */
  async press(target, role = "button") {
    const control = typeof target === "string" ? this.page.getByRole(role, { name: target, exact: true }) : target;
    return this.arriving(() => control.click());
  }

  /** Does what leads to another page, and waits for that. */
  async arriving(act) {
    const loaded = this.page.waitForEvent("domcontentloaded");
    const isPage = (answer) => answer.request().isNavigationRequest() && Math.floor(answer.status() / 100) !== 3;
    const [answer] = await Promise.all([this.page.waitForResponse(isPage), act()]);
    await loaded;
    return answer;
  }

  follow(name) {
    return this.press(name, "link");
  }

  /** Presses Tab until that has the focus. */
  async tabTo(target) {
    const has = () => target.evaluate((element) => element === document.activeElement);
    for (let presses = 0; presses < MOST_TABS; presses++) {
      if (await has()) return;
      await this.page.keyboard.press("Tab");
    }
    assert.fail(`Tab does not reach ${target}`);
  }

  /** The words of what has the focus. */
  focused() {
    return this.page.evaluate(() => document.activeElement.textContent.trim());
  }

  get path() {
    const { pathname, search } = new URL(this.page.url());
    return pathname.replace(/^\/dashboard/, "") + search;
  }

  text(selector = "main") {
    return this.page.locator(selector).first().innerText();
  }

  async reads(...texts) {
    const shown = (await this.text()).replace(/\s+/g, " ");
    for (const text of texts) {
      const found = text instanceof RegExp ? text.test(shown) : shown.includes(text);
      assert.ok(found, `the page does not say ${text}; it says: ${shown.slice(0, 1500)}`);
    }
  }

  /** What must hold of every page that is looked at. */
  async check() {
    const planted = await this.page.locator("[data-planted]").count();
    if (planted) this.faults.push(`planted elements in the page: ${planted}`);
    assert.deepEqual(this.faults, [], "faults in the browser");
  }

  async picture(name) {
    const directory = process.env.SHOTS;
    mkdirSync(directory, { recursive: true });
    const path = join(directory, `${name.replace(/[^a-z0-9]+/gi, "-").slice(0, 100)}.png`);
    await this.page.screenshot({ path, fullPage: true });
    return path;
  }

  leave() {
    return this.context.close();
  }
}

/** Runs in each page before its own scripts. */
function watchFromWithin() {
  addEventListener("securitypolicyviolation", (event) => {
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
  });
  globalThis.shifted = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) globalThis.shifted += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}
