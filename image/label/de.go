package label

var german = Language{
	plugIn: "Einstecken, in dieser Reihenfolge", lightsMean: "Was die Lichter bedeuten", howFar: "Wie weit ist es? Das hier scannen",
	scanWith: "mit einem Telefon im selben Netz, oder %s öffnen. Die Seite endet, wenn das Gerät beigetreten ist.", trouble: "Es geht nicht? Anrufen",

	"amber": "orange", "blue": "blau", "green": "grün", "red": "rot", "white": "weiß", "yellow": "gelb",

	"A network cable. Its other end goes into the router.":              "Ein Netzwerkkabel. Sein anderes Ende kommt in den Router.",
	"Power, last. Then press the power button.":                         "Strom, zuletzt. Dann den Einschaltknopf drücken.",
	"Power, last. Then press the power button, if it has one.":          "Strom, zuletzt. Dann den Einschaltknopf drücken, wenn es einen hat.",
	"The USB stick, if one came with it. Any of these will do.":         "Der USB-Stick, wenn einer dabei ist. Jede dieser Buchsen geht.",
	"The power cord, last. Then press the power button in front.":       "Das Stromkabel, zuletzt. Dann vorn den Einschaltknopf drücken.",
	"Only if you are asked to: a screen.":                               "Nur wenn Sie darum gebeten werden: ein Bildschirm.",
	"The memory card, its print away from the board, until it stops.":   "Die Speicherkarte, die bedruckte Seite von der Platine weg, bis zum Anschlag.",
	"The power supply, last. It starts by itself: there is no switch.":  "Das Netzteil, zuletzt. Es startet von selbst: einen Schalter gibt es nicht.",
	"The power supply, last: one with 5 A. It starts by itself.":        "Das Netzteil, zuletzt: eines mit 5 A. Es startet von selbst.",
	"on the network socket":                                             "an der Netzwerkbuchse",
	"power button":                                                      "Einschaltknopf",
	"beside the button":                                                 "neben dem Knopf",
	"The cable is good. Dark: try another cable.":                       "Das Kabel ist gut. Dunkel: ein anderes Kabel versuchen.",
	"It is on. Dark: press the button once.":                            "Es ist an. Dunkel: den Knopf einmal drücken.",
	"The machine itself is faulty: tell us whether it blinks, and how.": "Das Gerät selbst ist defekt: sagen Sie uns, ob es blinkt, und wie.",
	"It has power. Dark or flickering: too little.":                     "Es hat Strom. Dunkel oder flackernd: zu wenig.",
	"It is off. Press the button.":                                      "Es ist aus. Den Knopf drücken.",
	"back":                                                              "Rückseite",
	"long side":                                                         "lange Seite",
	"short side":                                                        "kurze Seite",
	"other short side, below":                                           "andere kurze Seite, unten",
	"Tower, small and micro have these sockets in other places; the micro's for power is round.":                  "Tower, Small und Micro haben diese Buchsen anderswo; die für Strom ist beim Micro rund.",
	"A 3A+ and a Zero 2 W have other sockets, and none for a network cable. A Compute Module 3 has no ACT light.": "Ein 3A+ und ein Zero 2 W haben andere Buchsen, und keine für ein Netzwerkkabel. Ein Compute Module 3 hat kein Licht ACT.",
	"A Pi 400 has the same sockets in another order. Its one light is green and does what ACT does.":              "Ein Pi 400 hat dieselben Buchsen in anderer Reihenfolge. Sein einziges Licht ist grün und tut, was bei ACT steht.",
	"Beside the memory card is its power button. It starts without.":                                              "Neben der Speicherkarte ist sein Einschaltknopf. Es startet auch ohne.",

	"Beats like a heart: it works or waits. Blinks fast: it needs you. Steady: done. Always dark: no card or no power.": "Schlägt wie ein Herz: es arbeitet oder wartet. Blinkt schnell: es braucht Sie. Leuchtet ruhig: fertig. Immer dunkel: keine Karte oder kein Strom.",
	"Beats like a heart: it works or waits. Blinks fast: it needs you. Steady: done.":                                   "Schlägt wie ein Herz: es arbeitet oder wartet. Blinkt schnell: es braucht Sie. Leuchtet ruhig: fertig.",
}
