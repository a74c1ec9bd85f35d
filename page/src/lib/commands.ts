/** Commands: what a view shows, as it is had on the command line. */

/** A command for a shell, each word quoted where it must be. */
export function command(...words: (string | number)[]): string {
  return words.map((word) => quoted(String(word))).join(" ");
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
