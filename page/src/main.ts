import { mount } from "svelte";

import { takeToken } from "./lib/server";
import { viewOf, views } from "./views";
import "./page.css";

takeToken(); // before anything looks at the address
// The view is fetched beside what shows it, which says so where that fails.
views[viewOf(new URLSearchParams(location.search).get("view"))].load().catch(() => {});
const { default: App } = await import("./App.svelte");
mount(App, { target: document.getElementById("app") as HTMLElement });
