package boot

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// readme is for people who put the card into a laptop.
func readme(in Input) string {
	text := fmt.Sprintf(`This is the start partition of a small server (%s, version %s).

If your computer offers to FORMAT or REPAIR another part of this card: say no.
The rest of the card holds the server's system and data in a form that
Windows and macOS cannot read.

What you may see and do here:

  STATUS.TXT  how the last start went, in plain words. The server writes it.
  %s  what this server is made of, two minutes after its last start.
              No passwords and no addresses are in it: you may send it to
              whoever looks after this server.
  %s   how far the last start came, one line. For a server that stays dark.
  node.yaml   who this server is. You may replace it by a file you were sent.
  %s  an empty file of this name tells the server to repair its data
              at the next start. Only make one when you are asked to.

Please leave everything else alone, and always eject the card before you take
it out.
`, in.title(), in.ImageVersion, contract.ReportFile, contract.StageFile, contract.RepairFile)
	return strings.ReplaceAll(text, "\n", "\r\n") // older versions of Notepad need CRLF
}

func fsMode(mode uint32) fs.FileMode { return fs.FileMode(mode) }
