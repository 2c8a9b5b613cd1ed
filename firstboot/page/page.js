(function () {
	"use strict";
	var quiet = document.getElementById("quiet"), told = document.getElementById("told");
	var hand = document.getElementById("hand"), file = document.getElementById("file");
	var asking = false;

	function tell(text, kind) {
		told.firstElementChild.textContent = text;
		told.className = "note " + kind;
		told.hidden = false;
		told.scrollIntoView({block: "nearest"});
	}

	function give(data) {
		tell(told.dataset.sending, "");
		fetch("/", {method: "POST", headers: {"Content-Type": "application/yaml"}, body: data}).then(function (answer) {
			return answer.text().then(function (text) { tell(text.trim(), answer.ok ? "good" : "bad"); });
		}).catch(function () { tell(told.dataset.lost, "bad"); });
	}

	// What stands behind "#" never leaves the phone by itself. It is a secret:
	// it goes to the node and out of the address, so that no history keeps it, also where
	// a node that has joined takes nothing.
	function link() {
		var text = location.hash.slice(1);
		if (!text) return;
		history.replaceState(null, "", location.pathname);
		if (!hand) return;
		try { text = atob(text.replace(/-/g, "+").replace(/_/g, "/")); } catch (e) { /* the node refuses it in words */ }
		give(text);
	}

	function look() {
		if (asking || document.querySelector("main").dataset.state === "joined") return;
		asking = true;
		fetch("/").then(function (answer) { return answer.text(); }).then(function (text) {
			var next = new DOMParser().parseFromString(text, "text/html"), main = next.querySelector("main");
			if (!main) throw new Error("no page");
			quiet.hidden = true;
			document.title = next.title;
			// What this phone was told about its own try, it need not read twice.
			var again = told.hidden ? null : main.querySelector("[data-code^=offer-]");
			if (again) again.remove();
			document.querySelector("header").replaceWith(next.querySelector("header"));
			document.querySelector("main").replaceWith(main);
			if (main.dataset.state === "joined") hand.hidden = told.hidden = true;
		}).catch(function () { quiet.hidden = false; }).then(function () { asking = false; });
	}

	if (hand) {
		hand.hidden = false;
		file.addEventListener("change", function () { if (file.files[0]) give(file.files[0]); });
	}
	addEventListener("hashchange", link);
	link();
	setInterval(look, 3000);
})();
