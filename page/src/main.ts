import { mount } from "svelte";

import { takeToken } from "./lib/server";
import "./page.css";

takeToken(); // before anything looks at the address
const { default: App } = await import("./App.svelte");
mount(App, { target: document.getElementById("app") as HTMLElement });
