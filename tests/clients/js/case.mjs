// What a test tells a client program, and how the program tells what does not hold.
//
// A program is run as `node PROGRAM.mjs CASE.json [WORD...]`, with the folder of the installed clients in the case. It
// ends with status 0 if all held, and otherwise says in a sentence what did not.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";

// Longest wait for something that must come, in milliseconds. The machine may have other work.
export const PATIENCE = 20_000;
// How long nothing may come, where nothing must, in milliseconds.
const SILENCE = 500;

export const CASE = JSON.parse(readFileSync(process.argv[2], "utf8"));
export const WORDS = process.argv.slice(3);
// Finds a client where it is installed, which is not beside the programs.
export const client = createRequire(`${CASE.clients}/`);

export function hold(condition, sentence) {
  if (!condition) {
    console.error(`does not hold: ${sentence}`);
    process.exit(1);
  }
}

export function same(found, expected, what) {
  hold(
    isDeepStrictEqual(found, expected),
    `${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`,
  );
}

// What came, in order.
export class Inbox {
  #items = [];
  #waiting = [];

  constructor(name) {
    this.name = name;
  }

  put(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  }

  // The next item, which must come.
  next(what) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return new Promise((resolve) => {
      const late = () => hold(false, `nothing came to ${this.name} within ${PATIENCE} ms: ${what}`);
      const timer = setTimeout(late, PATIENCE);
      this.#waiting.push((item) => {
        clearTimeout(timer);
        resolve(item);
      });
    });
  }

  // Ends the program if anything comes.
  async isSilent(why) {
    await new Promise((resolve) => setTimeout(resolve, SILENCE));
    hold(this.#items.length === 0, `${this.name} got ${JSON.stringify(this.#items)}, ${why}`);
  }
}

// What a probe finds, asked until it finds something.
export async function until(probe, sentence) {
  const ends = Date.now() + PATIENCE;
  for (;;) {
    const found = await probe();
    if (found) return found;
    hold(Date.now() < ends, sentence);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

// Runs a verb of the operator with `--json`, and returns what it prints.
export function verb(...words) {
  const options = { cwd: CASE.folder, encoding: "utf8", timeout: PATIENCE };
  return JSON.parse(execFileSync(CASE.updraft, [...words, "--json", "--url", CASE.operator_url], options));
}

// Ends the program well, whatever a library still has open.
export function end() {
  process.exit(0);
}
