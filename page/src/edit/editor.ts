/**
 * Editor: a text field for metric files, with colours and with mistakes where they are.
 *
 * It is loaded when it is first needed. It stands in a shadow root, as CodeMirror's styles are constructed sheets there,
 * which the page's policy allows; elsewhere they would be inline.
 */
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, setDiagnostics } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

import type { Failure } from "../lib/rest";

export interface Editor {
  /** Replaces the text, where it is another. */
  set(text: string): void;
  /** Marks mistakes; where a place is not known, in the first line. */
  mark(failures: readonly Failure[]): void;
  end(): void;
}

const language = StreamLanguage.define<{ quote: string | null }>({
  name: "metric",
  startState: () => ({ quote: null }),
  token(stream, state) {
    if (state.quote) {
      while (!stream.eol()) if (stream.next() === state.quote) break;
      state.quote = null;
      return "string";
    }
    if (stream.eatSpace()) return null;
    if (stream.match(/^#.*/)) return "comment";
    const isFirst = /^\s*$/.test(stream.string.slice(0, stream.pos));
    if (isFirst && stream.match(/^[\w-]+(?=:)/)) return "propertyName";
    if (stream.match(/^\d+(\.\d+)?(us|ms|mo|[smhdwy])?\b/)) return "number";
    if (stream.match(/^(true|false|null|unknown)\b/)) return "bool";
    if (stream.match(/^[A-Za-z_]\w*(?=\()/)) return "keyword";
    const next = stream.next();
    if (next === '"' || next === "'") state.quote = next;
    else stream.eatWhile(/\w/);
    return state.quote ? "string" : null;
  },
});

const colours = syntaxHighlighting(
  HighlightStyle.define([
    { tag: tags.keyword, color: "var(--accent)" },
    { tag: tags.string, color: "var(--good)" },
    { tag: [tags.number, tags.bool], color: "var(--event)" },
    { tag: tags.comment, color: "var(--faint)", fontStyle: "italic" },
    { tag: tags.propertyName, fontWeight: "600" },
  ]),
);

const look = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "var(--ground)", border: "1px solid var(--faint)", fontSize: "13px" },
  "&.cm-focused": { outline: "2px solid var(--accent)" },
  ".cm-content": { caretColor: "var(--ink)", fontFamily: "ui-monospace, 'Liberation Mono', monospace" },
  ".cm-gutters": { backgroundColor: "var(--raised)", color: "var(--faint)", border: "0" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  // In the place of CodeMirror's pictures, which are data: addresses. A border, as browsers keep the decoration of a
  // text while one types beside it, with styles in its elements, which the page's policy forbids.
  ".cm-lintRange-error": { backgroundImage: "none", borderBottom: "2px dotted var(--bad)" },
  ".cm-lint-marker-error": { content: '"■"', color: "var(--bad)" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", color: "var(--ink)", border: "1px solid var(--faint)" },
});

/** An editor in `host`; `onchange` is told of every change of the text. */
export function mountEditor(host: HTMLElement, text: string, onchange: (text: string) => void): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: text,
      extensions: [
        lineNumbers(),
        history(),
        bracketMatching(),
        lintGutter(),
        language,
        colours,
        look,
        EditorView.lineWrapping,
        keymap.of([...defaultKeymap, ...historyKeymap]),
        EditorView.contentAttributes.of({ "aria-label": "Metric file" }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) onchange(update.state.doc.toString());
        }),
      ],
    }),
  });
  return {
    set(next) {
      const { doc } = view.state;
      if (doc.toString() !== next) view.dispatch({ changes: { from: 0, to: doc.length, insert: next } });
    },
    mark(failures) {
      const { doc } = view.state;
      const found = failures.map((failure) => {
        const line = doc.line(Math.min(Math.max(failure.line ?? 1, 1), doc.lines));
        const from = Math.min(line.from + Math.max((failure.column ?? 1) - 1, 0), line.to);
        const [start, end] = (failure.span as [number, number] | null) ?? [0, 0];
        const to = failure.line == null ? line.to : Math.min(from + Math.max(end - start, 1), doc.length);
        const message = failure.hint ? `${failure.message}\n${failure.hint}` : failure.message;
        return { from, to: Math.max(to, from), severity: "error" as const, message };
      });
      view.dispatch(setDiagnostics(view.state, found));
    },
    end: () => view.destroy(),
  };
}
