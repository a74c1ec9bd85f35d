/** Files: what a view shows, to be kept or used elsewhere. */

/** Lets the browser keep a text as a file. */
export function download(name: string, content: string | Uint8Array<ArrayBuffer>): void {
  const type = name.endsWith(".csv") ? "text/csv" : name.endsWith(".zip") ? "application/zip" : "application/json";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Rows as CSV (RFC 4180), the fields of the first as its header; objects as JSON. */
export function csvOf(rows: readonly object[]): string {
  const names = Object.keys(rows[0] ?? {});
  const lines = rows.map((row) => names.map((name) => cell((row as Record<string, unknown>)[name])).join(","));
  return [names.map(cell).join(","), ...lines, ""].join("\r\n");
}

function cell(value: unknown): string {
  const text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
