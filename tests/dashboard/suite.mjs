// The list of tests, and how one of them runs: with a browser of its own, and a picture of what it saw if it fails.

import { Visitor } from "./browser.mjs";

const tests = [];

/** A test: its name is a sentence, `run` gets what {@link World} offers. */
export function test(name, run) {
  tests.push({ name, run });
}

/** What a test has at hand. */
class World {
  constructor({ node, receiver, browser, tally }) {
    Object.assign(this, { node, receiver, browser, tally });
    this.visitors = [];
  }

  somebody(options) {
    return this.node.somebody(options);
  }

  /** A browser for somebody who is signed in, or for a stranger. */
  async visit(person, options = {}) {
    const visitor = await Visitor.arrive(this.browser, person?.node ?? options.node ?? this.node, { person, ...options });
    this.visitors.push(visitor);
    return visitor;
  }
}

async function runOne({ name, run }, shared) {
  const world = new World(shared);
  try {
    await run(world);
    for (const visitor of world.visitors) await visitor.check();
    console.log(`ok      ${name}`);
    return true;
  } catch (error) {
    const places = [];
    for (const [at, visitor] of world.visitors.entries()) {
      const faults = visitor.faults.map((fault) => `\n        ${fault}`).join("");
      const picture = await visitor.picture(`${name}-${at}`).catch(String);
      places.push(`${visitor.page.url()}\n        ${picture}${faults}`);
    }
    console.log(`FAILED  ${name}\n${error.stack}\n        ${places.join("\n        ")}`);
    return false;
  } finally {
    for (const visitor of world.visitors) await visitor.leave();
  }
}

/** Runs those whose names hold one of `words`, all without any; answers how many ran and failed. */
export async function runAll(words, shared) {
  const chosen = tests.filter(({ name }) => !words.length || words.some((word) => name.includes(word)));
  let failed = 0;
  for (const one of chosen) failed += (await runOne(one, shared)) ? 0 : 1;
  return { ran: chosen.length, failed };
}
