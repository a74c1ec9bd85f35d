/** Commands: what a view shows, as it is had on the command line. */

/** A command for a shell, each word quoted where it must be. */
export function command(...words: (string | number)[]): string {
  return words.map((word) => quoted(String(word))).join(" ");
}

/** A question to a metric. Times on this page are seconds, whatever those of its events are. */
export function query(metric: string, ...words: (string | number)[]): string {
  return command("timeline", "query", metric, ...words, "--unit", "s");
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
