package label

var spanish = Language{
	plugIn: "Conectar, en este orden", lightsMean: "Qué dicen las luces", howFar: "¿Por dónde va? Escanee esto",
	scanWith: "con un teléfono de la misma red, o abra %s. La página termina cuando el equipo se ha unido.", trouble: "¿Problemas? Llame a",

	"amber": "naranja", "blue": "azul", "green": "verde", "red": "rojo", "white": "blanco", "yellow": "amarillo",

	"A network cable. Its other end goes into the router.":              "Un cable de red. El otro extremo va al router.",
	"Power, last. Then press the power button.":                         "La corriente, al final. Luego pulse el botón de encendido.",
	"Power, last. Then press the power button, if it has one.":          "La corriente, al final. Luego pulse el botón de encendido, si lo tiene.",
	"The USB stick, if one came with it. Any of these will do.":         "La memoria USB, si venía una. Sirve cualquiera de estas tomas.",
	"The power cord, last. Then press the power button in front.":       "El cable de corriente, al final. Luego pulse el botón de encendido, delante.",
	"Only if you are asked to: a screen.":                               "Solo si se lo piden: una pantalla.",
	"The memory card, its print away from the board, until it stops.":   "La tarjeta de memoria, con lo impreso hacia fuera de la placa, hasta el tope.",
	"The power supply, last. It starts by itself: there is no switch.":  "La fuente de alimentación, al final. Arranca sola: no hay interruptor.",
	"The power supply, last: one with 5 A. It starts by itself.":        "La fuente de alimentación, al final: una de 5 A. Arranca sola.",
	"on the network socket":                                             "en la toma de red",
	"power button":                                                      "botón de encendido",
	"beside the button":                                                 "junto al botón",
	"The cable is good. Dark: try another cable.":                       "El cable está bien. Apagada: pruebe otro cable.",
	"It is on. Dark: press the button once.":                            "Está encendido. Apagada: pulse el botón una vez.",
	"The machine itself is faulty: tell us whether it blinks, and how.": "El equipo mismo está averiado: díganos si parpadea, y cómo.",
	"It has power. Dark or flickering: too little.":                     "Tiene corriente. Apagada o vacilante: poca.",
	"It is off. Press the button.":                                      "Está apagado. Pulse el botón.",
	"back":                                                              "parte trasera",
	"long side":                                                         "lado largo",
	"short side":                                                        "lado corto",
	"other short side, below":                                           "otro lado corto, debajo",
	"Tower, small and micro have these sockets in other places; the micro's for power is round.":                  "Tower, Small y Micro tienen estas tomas en otros sitios; la de corriente del Micro es redonda.",
	"A 3A+ and a Zero 2 W have other sockets, and none for a network cable. A Compute Module 3 has no ACT light.": "Un 3A+ y un Zero 2 W tienen otras tomas, y ninguna para un cable de red. Un Compute Module 3 no tiene luz ACT.",
	"A Pi 400 has the same sockets in another order. Its one light is green and does what ACT does.":              "Una Pi 400 tiene las mismas tomas en otro orden. Su única luz es verde y hace lo que hace ACT.",
	"Beside the memory card is its power button. It starts without.":                                              "Junto a la tarjeta de memoria está su botón de encendido. Arranca sin él.",

	"Beats like a heart: it works or waits. Blinks fast: it needs you. Steady: done. Always dark: no card or no power.": "Late como un corazón: trabaja o espera. Parpadea rápido: le necesita. Fija: listo. Siempre apagada: sin tarjeta o sin corriente.",
	"Beats like a heart: it works or waits. Blinks fast: it needs you. Steady: done.":                                   "Late como un corazón: trabaja o espera. Parpadea rápido: le necesita. Fija: listo.",
}
