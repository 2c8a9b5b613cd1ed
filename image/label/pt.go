package label

var portuguese = Language{
	plugIn: "Ligar, por esta ordem", lightsMean: "O que dizem as luzes", howFar: "Em que ponto está? Leia isto",
	scanWith: "com um telefone na mesma rede, ou abra %s. A página termina quando o aparelho se juntou.", trouble: "Problemas? Ligue a",

	"amber": "laranja", "blue": "azul", "green": "verde", "red": "vermelho", "white": "branco", "yellow": "amarelo",

	"A network cable. Its other end goes into the router.":              "Um cabo de rede. A outra ponta vai para o router.",
	"Power, last. Then press the power button.":                         "A corrente, no fim. Depois carregue no botão de ligar.",
	"Power, last. Then press the power button, if it has one.":          "A corrente, no fim. Depois carregue no botão de ligar, se o tiver.",
	"The USB stick, if one came with it. Any of these will do.":         "A pen USB, se vier uma. Serve qualquer uma destas tomadas.",
	"The power cord, last. Then press the power button in front.":       "O cabo de corrente, no fim. Depois carregue no botão de ligar, à frente.",
	"Only if you are asked to: a screen.":                               "Só se lhe pedirem: um ecrã.",
	"The memory card, its print away from the board, until it stops.":   "O cartão de memória, com o lado impresso para fora da placa, até ao fim.",
	"The power supply, last. It starts by itself: there is no switch.":  "A fonte de alimentação, no fim. Arranca sozinho: não há interruptor.",
	"The power supply, last: one with 5 A. It starts by itself.":        "A fonte de alimentação, no fim: uma de 5 A. Arranca sozinho.",
	"on the network socket":                                             "na tomada de rede",
	"power button":                                                      "botão de ligar",
	"beside the button":                                                 "ao lado do botão",
	"The cable is good. Dark: try another cable.":                       "O cabo está bom. Apagada: experimente outro cabo.",
	"It is on. Dark: press the button once.":                            "Está ligado. Apagada: carregue uma vez no botão.",
	"The machine itself is faulty: tell us whether it blinks, and how.": "O próprio aparelho está avariado: diga-nos se pisca, e como.",
	"It has power. Dark or flickering: too little.":                     "Tem corrente. Apagada ou a tremer: pouca.",
	"It is off. Press the button.":                                      "Está desligado. Carregue no botão.",
	"back":                                                              "parte de trás",
	"long side":                                                         "lado comprido",
	"short side":                                                        "lado curto",
	"other short side, below":                                           "outro lado curto, em baixo",
	"Tower, small and micro have these sockets in other places; the micro's for power is round.":                  "Tower, Small e Micro têm estas tomadas noutros sítios; a de corrente do Micro é redonda.",
	"A 3A+ and a Zero 2 W have other sockets, and none for a network cable. A Compute Module 3 has no ACT light.": "Um 3A+ e um Zero 2 W têm outras tomadas, e nenhuma para um cabo de rede. Um Compute Module 3 não tem luz ACT.",
	"A Pi 400 has the same sockets in another order. Its one light is green and does what ACT does.":              "Um Pi 400 tem as mesmas tomadas por outra ordem. A sua única luz é verde e faz o que faz a ACT.",
	"Beside the memory card is its power button. It starts without.":                                              "Ao lado do cartão de memória está o botão de ligar. Arranca sem ele.",

	"Beats like a heart: it works or waits. Blinks fast: it needs you. Steady: done. Always dark: no card or no power.": "Bate como um coração: trabalha ou espera. Pisca depressa: precisa de si. Fixa: pronto. Sempre apagada: sem cartão ou sem corrente.",
	"Beats like a heart: it works or waits. Blinks fast: it needs you. Steady: done.":                                   "Bate como um coração: trabalha ou espera. Pisca depressa: precisa de si. Fixa: pronto.",
}
