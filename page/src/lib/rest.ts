/* Made by `npm run rest` from docs/openapi.json; do not edit. */

export type AnyModel =
  | Answers
  | ApplyAnswer
  | ApplyPreview
  | Box
  | Change
  | CheckAnswer
  | CheckRequest
  | DeadLetterCount
  | DefinitionRow
  | Density
  | Doubt
  | DriverResult
  | EvaluateAnswer
  | EvaluateRequest
  | EventPage
  | EventShown
  | Failure
  | ForgetAnswer
  | ForgetRequest
  | GapShown
  | GraphDrawing
  | GraphEdge
  | GraphNode
  | GraphSource
  | HistoryStatus
  | ImportAnswer
  | KeyList
  | KeyRow
  | Lane
  | LaneSpan
  | Lanes
  | Letter
  | LetterCounts
  | LetterList
  | MetricDetail
  | MetricNode
  | MetricOverview
  | Overview
  | PiecePage
  | PieceShown
  | PlannedWorker
  | RebuildAnswer
  | RebuildRequest
  | RefusedEvent
  | RemoveResult
  | ReplayAnswer
  | ReplayRequest
  | SecondsByValue
  | ServerInfo
  | SourceList
  | SourceResult
  | SourceRow
  | Span
  | Spans
  | StoredNode
  | ValueAt
  | WorkerEdge
  | WorkerList
  | WorkerName
  | WorkerState;

export interface Said {
  AnyModel?: AnyModel;
}
/**
 * Answers of workers. ``more``: there are further keys; ``doubts``: why answers may be wrong or old;
 * ``notices``: what was come across and makes no answer wrong.
 */
export interface Answers {
  answers: (ValueAt | Spans | Change)[];
  more: boolean;
  doubts: Doubt[];
  notices: string[];
}
/**
 * The value at an instant. ``since``: where this piece starts; ``until``: where the next one begins.
 *
 * ``slope`` is there for Numeric timelines only; ``aggregate`` for aggregates only (``key`` is the group).
 */
export interface ValueAt {
  key: string | number | boolean | null;
  aggregate: string;
  at: number | string;
  value: boolean | number | string | null;
  since: number | string | null;
  until: number | string | null;
  slope: number | null;
  final: boolean;
  health: Doubt | null;
}
/**
 * Why an answer may be wrong or old: the ``state`` of a worker or server that it rests on (see
 * ``timeline get``), and the ``cause``.
 *
 * The field ``health`` of an answer; left out where all that it rests on is well. An answer in doubt is
 * never final.
 */
export interface Doubt {
  state: string;
  cause: string;
}
/**
 * The pieces over ``[start, end)``, cut to the range; before the origin there is none.
 *
 * ``final`` is left out where there is no watermark, as in the evaluation of a file; so in ``Change``.
 */
export interface Spans {
  key: string | number | boolean | null;
  aggregate: string;
  start: number | string;
  end: number | string;
  kind: "boolean" | "state" | "numeric";
  spans: Span[];
  final: boolean;
  health: Doubt | null;
}
/**
 * One piece of a timeline, half-open.
 */
export interface Span {
  start: number | string;
  end: number | string;
  value: boolean | number | string | null;
  slope: number | null;
}
/**
 * The change over ``[start, end)``: ``change``, or ``seconds_by_value`` for State.
 */
export interface Change {
  key: string | number | boolean | null;
  aggregate: string;
  start: number | string;
  end: number | string;
  kind: "boolean" | "state" | "numeric";
  change: number | null;
  seconds_by_value: SecondsByValue[];
  final: boolean;
  health: Doubt | null;
}
/**
 * Time spent in one value.
 */
export interface SecondsByValue {
  value: boolean | number | string | null;
  seconds: number;
}
/**
 * What applying a metric did, or (``result`` None: a dry run) would do; ``notices``: what took time.
 */
export interface ApplyAnswer {
  preview: ApplyPreview;
  result: DriverResult | null;
  notices: string[];
}
/**
 * What applying a metric would do. ``outcome``: as in the result of applying it; ``workers``: children
 * first, those that stop last. A source with a partition for each key has its workers when keys come.
 */
export interface ApplyPreview {
  metric: string;
  outcome: "new" | "unchanged" | "replaced";
  starts: number;
  stops: number;
  kept: number;
  workers: PlannedWorker[];
}
/**
 * A worker of the metric, or one that it no longer needs. ``shared``: other metrics that need it, too;
 * ``node``: the name of its node, "" for a worker of an output.
 *
 * ``start``: nobody needs it yet; ``keep``: it is needed already; ``stop``: only the definition that is
 * applied now needs it.
 */
export interface PlannedWorker {
  worker: string;
  change: "start" | "keep" | "stop";
  node: string;
  operator: string;
  expression: string;
  partition: string;
  shared: string[];
}
/**
 * The graph that now runs.
 *
 * ``event_processor_workers`` are fed by the feeder; ``result_workers`` answer for the metric, one per
 * partition (one in all for an aggregate). Both are empty for ``partitions: per-key``, where the feeder
 * starts a tree at the first event of a key. ``stopped`` are workers of an earlier definition of the same
 * name. ``started`` counts the workers that did not run before, also those that a feeder has started since.
 * ``beginning`` are event processors that are new beside others of the metric that ran already: until the
 * feeder has read the past of the topic for them the metric knows only what those others do. ``departed``
 * are workers that it shares and that keys have left: it learns of such a key when that comes back.
 */
export interface DriverResult {
  metric: string;
  outcome: "new" | "unchanged" | "replaced";
  event_processor_workers: WorkerName[];
  result_workers: WorkerName[];
  started: number;
  existing: number;
  stopped: string[];
  beginning: string[];
  departed: string[];
  text: string;
}
/**
 * A worker as the driver lists it.
 */
export interface WorkerName {
  worker_id: string;
  node: string;
  operator: string;
  partition: string;
  expression: string;
}
/**
 * A rectangle around its centre ``(x, y)``. ``name``: of the node; ``source``: the topic.
 */
export interface Box {
  name: string;
  x: number;
  y: number;
  width: number;
  height: number;
}
/**
 * Whether it is right, and what is wrong. ``columns``: those it reads, with what their values must be
 * (bool, number or string; None: anything).
 */
export interface CheckAnswer {
  ok: boolean;
  failures: Failure[];
  metric: string | null;
  kind: ("boolean" | "state" | "numeric") | null;
  canonical: string | null;
  nodes: MetricNode[];
  columns: {
    [k: string]: string | null;
  };
  graph: GraphDrawing | null;
}
/**
 * What was wrong. ``field``: of the request; ``hint``: the nearest known name, or what else may help;
 * ``span``: the half-open range of characters of the mistake in the expression; ``line`` and ``column``: of
 * the metric file that was sent, from 1, where they can be told.
 */
export interface Failure {
  code: string;
  message: string;
  hint: string | null;
  field: string | null;
  span: unknown[] | null;
  line: number | null;
  column: number | null;
}
/**
 * A node of a metric, in graph order, children first. ``columns``: what a leaf is sent of each event;
 * ``functions``: of an aggregate.
 */
export interface MetricNode {
  node: string;
  operator: string;
  expression: string;
  kind: "boolean" | "state" | "numeric";
  inputs: string[];
  columns: string[];
  functions: string[];
  is_result: boolean;
}
/**
 * The graph of a metric, laid out. ``frame``: around the nodes that one worker computes; ``critical``:
 * the path of the least watermark, from the result down; nothing for a metric that is not applied.
 */
export interface GraphDrawing {
  metric: string;
  width: number;
  height: number;
  source: GraphSource;
  nodes: GraphNode[];
  edges: GraphEdge[];
  frame: Box | null;
  critical: string[];
}
/**
 * The topic at the bottom of the picture.
 */
export interface GraphSource {
  topic: string;
  key: string;
  time: string;
  box: Box;
}
/**
 * A node with its place and its workers. ``state``: the worst of theirs; ``watermark``: the least.
 */
export interface GraphNode {
  node: string;
  operator: string;
  expression: string;
  kind: "boolean" | "state" | "numeric";
  inputs: string[];
  columns: string[];
  functions: string[];
  is_result: boolean;
  box: Box;
  state: string;
  watermark: string | null;
  workers: WorkerState[];
}
/**
 * A worker, how it is and how far. ``node``: whose name it has; ``watermark``: ISO 8601; ``inbox``: what
 * it has not applied yet; ``archived``: keys in archives; ``history``: events of the present run.
 */
export interface WorkerState {
  worker: string;
  node: string;
  partition: string;
  state: string;
  cause: string | null;
  watermark: string | null;
  keys: number | null;
  archived: number;
  events: number | null;
  change_points: number;
  bytes: number | null;
  inbox: number | null;
  runs: number | null;
  history: number | null;
  build: string | null;
}
/**
 * An edge with its course. ``state``: the worst of ``workers``; "" from the source.
 */
export interface GraphEdge {
  from_node: string;
  to_node: string;
  label: string;
  points: unknown[][];
  arrow: unknown[] | null;
  state: string;
  workers: WorkerEdge[];
}
/**
 * An edge between two workers, as its sender has it.
 */
export interface WorkerEdge {
  from_worker: string;
  to_worker: string;
  state: string;
  error: string | null;
}
/**
 * An expression, or a metric file as ``yaml``. ``columns``: declared ones; ``like``: a metric whose
 * source it is to be read by; ``draw``: also the graph.
 */
export interface CheckRequest {
  expression?: string | null;
  yaml?: string | null;
  columns?: {
    [k: string]: "bool" | "int" | "float" | "string";
  } | null;
  like?: string | null;
  draw?: boolean;
}
/**
 * How many events of a topic a metric has refused for a reason, and how many of them were replayed.
 */
export interface DeadLetterCount {
  topic: string;
  reason: string;
  metric: string;
  letters: number;
  replayed: number;
  first: string;
  last: string;
}
/**
 * What is stored by one source definition, and the metrics that refuse events as it does. ``kept_from``:
 * what lies below it was forgotten; ``followed_to``: up to when published messages are stored, of the
 * partition that is furthest behind, None where that is not known.
 */
export interface DefinitionRow {
  definition: string;
  topic: string;
  metrics: string[];
  accepted: number;
  late: number;
  duplicate: number;
  refused: number;
  first: number | string | null;
  last: number | string | null;
  watermark: number | string | null;
  kept_from: number | string | null;
  followed_to: number | string | null;
}
/**
 * How many events of each outcome lie in each of equal parts of a window, ``width`` long (in seconds).
 */
export interface Density {
  start: number | string;
  end: number | string;
  width: number;
  outcomes: {
    [k: string]: number[];
  };
}
/**
 * The answers. ``warnings``: what is no mistake by itself, and may make answers empty or other ones.
 */
export interface EvaluateAnswer {
  answers: (ValueAt | Spans | Change)[];
  accepted: number;
  refused: RefusedEvent[];
  warnings: string[];
}
/**
 * An event that took no part: its place among all, from 0, and why.
 */
export interface RefusedEvent {
  row: number;
  reason: string;
  message: string;
}
/**
 * Events and a question about them, as `timeline eval` takes them. ``events``: objects, or JSON lines as
 * one text; ``key``, ``time``: dotted paths into them. Ask one of ``at`` (several values), ``spans`` and
 * ``change`` (a range; ``every``: by intervals). ``keys``: only these, as written.
 */
export interface EvaluateRequest {
  expression: string;
  events:
    | {
        [k: string]: unknown;
      }[]
    | string;
  key: string;
  time: string;
  time_unit?: "s" | "ms" | "us" | "ns" | "iso";
  columns?: {
    [k: string]: "bool" | "int" | "float" | "string";
  } | null;
  at?: (number | string)[] | null;
  spans?: unknown[] | null;
  change?: unknown[] | null;
  every?: string | null;
  keys?: string[] | null;
  newest_first?: boolean;
}
/**
 * Stored events by time and position; ``next``: what to send as ``after`` for those that follow.
 */
export interface EventPage {
  events: EventShown[];
  next: string | null;
}
/**
 * A stored event. ``payload``: as JSON, or its text where it is none; ``seen``: when the store was told;
 * ``position``: partition, major, minor.
 */
export interface EventShown {
  time: number | string | null;
  key: number | string | boolean | null;
  outcome: "accepted" | "late" | "duplicate" | "refused";
  reason: string;
  message: string;
  payload: unknown;
  published: number | string | null;
  /**
   * @minItems 3
   * @maxItems 3
   */
  position: unknown[];
  seen: number | string;
}
/**
 * How much was deleted; ``change_points``: of timelines.
 */
export interface ForgetAnswer {
  events: number;
  verdicts: number;
  change_points: number;
}
/**
 * What to forget: below event time ``before``, or ``older_than`` (such as 30d) below the watermark of
 * each definition and node. ``metrics``: only what is stored of these, also where others share it; by
 * default everything. ``unit``: of ``before``, by default ISO 8601 or seconds since 1970.
 */
export interface ForgetRequest {
  before?: string | number | null;
  older_than?: string | null;
  metrics?: string[] | null;
  unit?: ("s" | "ms" | "us" | "ns" | "iso") | null;
}
/**
 * Of ``of``, a topic or node, nothing may be stored for these times: ``why``. None: without end.
 * ``seen``: when the store was told.
 */
export interface GapShown {
  of: string;
  start: number | string | null;
  end: number | string | null;
  why: string;
  seen: number | string;
}
/**
 * What the history store holds. ``seen``: its last system time; ``rows``: change points; ``bytes``: on
 * disk; ``events``: by topic.
 */
export interface HistoryStatus {
  store: string;
  seen: number | string;
  kept_from: number | string | null;
  rows: number;
  bytes: number;
  events: {
    [k: string]: number;
  };
  definitions: DefinitionRow[];
  nodes: StoredNode[];
  gaps: GapShown[];
}
/**
 * What is stored of one node. ``kept_from``: what lies below it was forgotten.
 */
export interface StoredNode {
  node: string;
  keys: number;
  watermark: number | string | null;
  kept_from: number | string | null;
}
/**
 * What was in the archive: verdicts on ``events``, and ``pieces`` of timelines.
 */
export interface ImportAnswer {
  events: number;
  pieces: number;
}
/**
 * Keys of a metric; ``count``: how many there are in all.
 */
export interface KeyList {
  count: number;
  keys: KeyRow[];
}
/**
 * A key, and how many accepted events it had in the window; None: not counted.
 */
export interface KeyRow {
  key: number | string | boolean | null;
  events: number | null;
}
/**
 * The spans of one node for the key. ``function``: of an aggregate; ``count``: of spans before merging;
 * ``problem``: why there is none.
 */
export interface Lane {
  node: string;
  operator: string;
  expression: string;
  kind: "boolean" | "state" | "numeric";
  inputs: string[];
  function: string;
  is_result: boolean;
  count: number;
  spans: LaneSpan[];
  problem: string | null;
}
/**
 * A stretch of a lane; ``end`` None: it lasts. ``slope`` per second. ``merged``: how many spans it stands
 * for, where there are more than are drawn; the value is that of the last of them then.
 */
export interface LaneSpan {
  start: number | string;
  end: number | string | null;
  value: boolean | number | string | null;
  slope: number | null;
  merged: number;
}
/**
 * Every node of a metric for one key over ``[start, end)``, in graph order, children first.
 *
 * ``origin``: whether computed from stored events, or asked of the workers; ``watermark``: below it nothing
 * changes any more; ``kept_from``: nothing before it can be asked. ``events``: the first of the
 * ``events_count`` ones in the window.
 */
export interface Lanes {
  metric: string;
  key: number | string | boolean | null;
  unit: "s" | "ms" | "us" | "ns" | "iso";
  start: number | string;
  end: number | string;
  origin: "history" | "workers";
  as_of: number | string | null;
  watermark: number | string | null;
  kept_from: number | string | null;
  events: EventShown[];
  events_count: number;
  lanes: Lane[];
  gaps: GapShown[];
  doubts: Doubt[];
}
/**
 * A dead letter. ``payload``: as text, or in base64 where it is none (``is_text`` is false then).
 */
export interface Letter {
  topic: string;
  position: string;
  key: string;
  reason: string;
  message: string;
  metrics: string[];
  written: string;
  replayed: string | null;
  payload: string;
  is_text: boolean;
}
/**
 * Dead letters by topic, reason and metric; one that several metrics refused counts for each.
 */
export interface LetterCounts {
  counts: DeadLetterCount[];
}
/**
 * The dead letters that fit, at most ``limit``; ``count``: how many there are in all.
 */
export interface LetterList {
  letters: Letter[];
  count: number;
}
/**
 * A metric that is applied. ``yaml``: its definition, as a file that can be applied again; ``time_unit``:
 * of its times; ``causes``: what is wrong with its workers.
 */
export interface MetricDetail {
  name: string;
  description: string;
  yaml: string;
  expression: string;
  topic: string;
  key: string;
  time: string;
  time_unit: "s" | "ms" | "us" | "ns" | "iso";
  partitions: number | "per-key";
  overview: MetricOverview | null;
  nodes: MetricNode[];
  causes: string[];
}
/**
 * A metric as `timeline get` shows it; fields that are not known are left out, or None.
 *
 * ``workers``: how many answer, of how many; ``watermark`` and ``answerable_from``: of the result, ISO
 * 8601; ``lag``: seconds that it is behind the topic; ``archived``: keys in archives; ``late``, ``refused``
 * and ``ahead``: events; ``cause``: the worst that is wrong, of all ``causes``.
 */
export interface MetricOverview {
  metric: string;
  state: string;
  workers: string | null;
  watermark: string | null;
  lag: number | null;
  keys: number | null;
  archived: number | null;
  change_points: number | null;
  bytes: number | null;
  late: number | null;
  refused: number | null;
  ahead: number | null;
  answerable_from: string | null;
  partitions: number | string | null;
  topic: string | null;
  cause: string | null;
  causes: string[];
}
/**
 * All metrics that were looked at. ``warnings`` beside them; ``unanswered``: why the catalog does not
 * answer, where it does not: then little is known of the metrics.
 */
export interface Overview {
  metrics: MetricOverview[];
  warnings: string[];
  unanswered: string | null;
}
/**
 * Stored pieces by start, node and key; ``next``: what to send as ``after`` for those that follow.
 */
export interface PiecePage {
  pieces: PieceShown[];
  next: string | null;
}
/**
 * A piece of a timeline as the store has it; ``end`` None: it lasts. It was known from ``seen_from`` on,
 * and no longer since ``seen_until`` (None: it still is).
 */
export interface PieceShown {
  node: string;
  key: number | string | boolean | null;
  start: number | string;
  end: number | string | null;
  value: boolean | number | string | null;
  slope: number | null;
  seen_from: number | string;
  seen_until: number | string | null;
}
/**
 * Of how many partitions the feeder reads again, when it starts next, what the broker retains.
 */
export interface RebuildAnswer {
  partitions: number;
}
/**
 * What the feeder is to read again: the events of these metrics, and of others of the same source
 * definitions; by default all.
 */
export interface RebuildRequest {
  metrics?: string[] | null;
}
/**
 * ``stopped``: workers that ended; ``kept``: workers that other metrics still need.
 */
export interface RemoveResult {
  name: string;
  stopped: string[];
  kept: string[];
}
/**
 * What was sent, where each letter is now by its former position (nothing after a dry run), how many were
 * left out as replayed before, and what the applied metrics would make of the letters.
 */
export interface ReplayAnswer {
  topic: string;
  letters: Letter[];
  sent: {
    [k: string]: string;
  };
  left_out: number;
  warnings: string[];
}
/**
 * Which dead letters of ``topic`` to send again: those that fit every field, and at least one must be
 * given (``all``: every one). ``payload``: in the place of that of a single letter; ``again``: also those
 * that were replayed before; ``dry_run``: only say what would be sent.
 */
export interface ReplayRequest {
  topic: string;
  reasons?: string[];
  metric?: string | null;
  since?: string | null;
  positions?: string[];
  all?: boolean;
  payload?: string | null;
  again?: boolean;
  dry_run?: boolean;
}
/**
 * What runs here. ``read_only``: nothing can be applied, deleted, replayed or imported; ``history``:
 * there is a history store, so that lanes and the player have something to show; ``temporal_ui``: where
 * Temporal's UI is; ``encrypted``: this process has the keys of encrypted payloads.
 */
export interface ServerInfo {
  version: string;
  protocol: "timeline.dvr.v1";
  read_only: boolean;
  history: boolean;
  temporal_ui: string | null;
  encrypted: boolean;
}
/**
 * The stored sources by name.
 */
export interface SourceList {
  sources: SourceRow[];
}
/**
 * A stored source, with its file and the metrics that name it.
 */
export interface SourceRow {
  name: string;
  description: string;
  version: number;
  topic: string;
  yaml: string;
  metrics: string[];
}
/**
 * What became of a source that was applied. ``keeping``: metrics that keep another version of it.
 */
export interface SourceResult {
  name: string;
  outcome: "new" | "unchanged" | "replaced";
  version: number;
  keeping: string[];
}
/**
 * The workers of a metric, children first.
 */
export interface WorkerList {
  workers: WorkerState[];
}
