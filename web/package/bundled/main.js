// What bundlers are given: a page of somebody's that uses the package. The page's tests talk with the engine through it.
import { Engine } from "ternary-core";

window.Engine = Engine;
