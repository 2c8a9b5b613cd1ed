package label

var french = Language{
	plugIn: "Brancher, dans cet ordre", lightsMean: "Ce que disent les voyants", howFar: "Où en est-il ? Scannez ceci",
	scanWith: "avec un téléphone du même réseau, ou ouvrez %s. La page disparaît quand l’appareil a rejoint le réseau.", trouble: "Un problème ? Appelez",

	"amber": "orange", "blue": "bleu", "green": "vert", "red": "rouge", "white": "blanc", "yellow": "jaune",

	"A network cable. Its other end goes into the router.":              "Un câble réseau. Son autre bout va dans la box.",
	"Power, last. Then press the power button.":                         "Le courant, en dernier. Puis appuyez sur le bouton de marche.",
	"Power, last. Then press the power button, if it has one.":          "Le courant, en dernier. Puis appuyez sur le bouton de marche, s’il y en a un.",
	"The USB stick, if one came with it. Any of these will do.":         "La clé USB, s’il y en a une dans la boîte. Chacune de ces prises convient.",
	"The power cord, last. Then press the power button in front.":       "Le cordon d’alimentation, en dernier. Puis appuyez sur le bouton de marche, à l’avant.",
	"Only if you are asked to: a screen.":                               "Seulement si on vous le demande : un écran.",
	"The memory card, its print away from the board, until it stops.":   "La carte mémoire, côté imprimé à l’opposé du circuit, jusqu’au fond.",
	"The power supply, last. It starts by itself: there is no switch.":  "L’alimentation, en dernier. Il démarre tout seul : il n’y a pas d’interrupteur.",
	"The power supply, last: one with 5 A. It starts by itself.":        "L’alimentation, en dernier : une de 5 A. Il démarre tout seul.",
	"on the network socket":                                             "sur la prise réseau",
	"power button":                                                      "bouton de marche",
	"beside the button":                                                 "à côté du bouton",
	"The cable is good. Dark: try another cable.":                       "Le câble est bon. Éteint : essayez un autre câble.",
	"It is on. Dark: press the button once.":                            "Il est en marche. Éteint : appuyez une fois sur le bouton.",
	"The machine itself is faulty: tell us whether it blinks, and how.": "L’appareil lui-même est en panne : dites-nous s’il clignote, et comment.",
	"It has power. Dark or flickering: too little.":                     "Il a du courant. Éteint ou vacillant : pas assez.",
	"It is off. Press the button.":                                      "Il est éteint. Appuyez sur le bouton.",
	"back":                                                              "arrière",
	"long side":                                                         "grand côté",
	"short side":                                                        "petit côté",
	"other short side, below":                                           "autre petit côté, dessous",
	"Tower, small and micro have these sockets in other places; the micro's for power is round.":                  "Tower, Small et Micro ont ces prises ailleurs ; celle du courant est ronde sur le Micro.",
	"A 3A+ and a Zero 2 W have other sockets, and none for a network cable. A Compute Module 3 has no ACT light.": "Un 3A+ et un Zero 2 W ont d’autres prises, et aucune pour un câble réseau. Un Compute Module 3 n’a pas de voyant ACT.",
	"A Pi 400 has the same sockets in another order. Its one light is green and does what ACT does.":              "Un Pi 400 a les mêmes prises dans un autre ordre. Son seul voyant est vert et fait ce que fait ACT.",
	"Beside the memory card is its power button. It starts without.":                                              "Son bouton de marche est à côté de la carte mémoire. Il démarre sans.",

	"Beats like a heart: it works or waits. Blinks fast: it needs you. Steady: done. Always dark: no card or no power.": "Bat comme un cœur : il travaille ou attend. Clignote vite : il a besoin de vous. Fixe : terminé. Toujours éteint : pas de carte ou pas de courant.",
	"Beats like a heart: it works or waits. Blinks fast: it needs you. Steady: done.":                                   "Bat comme un cœur : il travaille ou attend. Clignote vite : il a besoin de vous. Fixe : terminé.",
}
