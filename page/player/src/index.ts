/** Plays recorded events and timelines over `timeline.dvr.v1`. */
export * from "./messages";
export { Lost, Player, Refused, type Ask, type PlayerOptions, type Reply } from "./player";
export { Playhead } from "./playhead";
export {
  Timelines,
  differences,
  holding,
  laneOf,
  placeAfter,
  valueOf,
  type Difference,
  type Key,
  type Lane,
  type Piece,
  type Value,
} from "./timelines";
