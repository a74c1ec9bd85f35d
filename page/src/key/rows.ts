/**
 * Rows: the nodes of an expression in the order in which they are shown, with how deep each stands.
 *
 * The result comes last, as in the graph: a node stands below what it is computed from. A node that several others read
 * stands under the first of them. A folded row hides all that stands under it and nothing else does.
 */

export interface RowNode {
  node: string;
  expression: string;
  kind: "boolean" | "state" | "numeric" | "ratio";
  inputs: readonly string[];
}

export interface Row extends RowNode {
  depth: number;
  /** The expression with a dot for each input, which has a row of its own. */
  label: string;
  /** How many rows it hides, while it is folded; else how many it would hide. */
  below: number;
  folded: boolean;
}

/** The rows that are shown of `nodes` (children first, the result last) while `folded` are folded. */
export function rowsOf(nodes: readonly RowNode[], folded: ReadonlySet<string>): Row[] {
  const known = new Map(nodes.map((node) => [node.node, node]));
  const placed = new Set<string>();
  const rows: Row[] = [];
  const visit = (node: RowNode, depth: number, hidden: boolean): number => {
    placed.add(node.node);
    const isFolded = folded.has(node.node);
    let below = 0;
    for (const name of node.inputs) {
      const input = known.get(name);
      if (input && !placed.has(name)) below += 1 + visit(input, depth + 1, hidden || isFolded);
    }
    if (!hidden) rows.push({ ...node, depth, label: labelOf(node, known), below, folded: isFolded && below > 0 });
    return below;
  };
  const read = new Set(nodes.flatMap((node) => node.inputs));
  for (const node of nodes.filter((one) => !read.has(one.node))) visit(node, 0, false);
  for (const node of nodes) if (!placed.has(node.node)) visit(node, 0, false);
  return rows;
}

function labelOf(node: RowNode, known: ReadonlyMap<string, RowNode>): string {
  let text = node.expression;
  const inputs = node.inputs.map((name) => known.get(name)?.expression ?? "").filter((one) => one !== "");
  for (const input of inputs.sort((a, b) => b.length - a.length)) {
    text = text.replaceAll(input, "·");
  }
  return text.replaceAll(/(^|[^\w])\(·\)/g, "$1·");
}
