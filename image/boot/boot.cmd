# Chooses the slot of this node and starts its kernel. Runs in U-Boot's shell
# (Debian's u-boot-rpi 2025.01), found by its "bootflow scan".
#
# good.env  good=a|b               written by the node only
# ab.env    try=a|b|none, tries=N  written by the node and, below, by U-Boot
# STAGE.TXT how far the last start came, in words; written by whoever comes there
# All are one sector, overwritten in place. Whatever is missing, unreadable or
# nonsense means: no trial, slot a.

# Beyond the kernel, whose memory ends below 0x5000000, and below the 512 MB
# of the smallest model. QEMU has its device tree at 0x8000000, the firmware far
# above. Numbers are hexadecimal.
setenv scratch 0x07000000
setenv initrd_at 0x09000000
setenv kernel_comp_addr_r 0x10000000
setenv fat "${devtype} ${devnum}:1"

setenv good a
setenv try none
setenv tries 0
if load ${fat} ${scratch} good.env; then
  env import -t -r ${scratch} ${filesize} good
fi
if load ${fat} ${scratch} ab.env; then
  env import -t -r ${scratch} ${filesize} try tries
fi
if test "${good}" != "b"; then
  setenv good a
fi

setenv first ${good}
setenv ontrial none

# A try is counted before the kernel starts, and not taken if it cannot be
# counted: it would never end.
if test "${try}" = "a" || test "${try}" = "b"; then
  if itest ${tries} > 0 && itest ${tries} < 10; then
    setexpr tries ${tries} - 1
    mw.b ${scratch} 0 200
    env export -t -s 200 ${scratch} try tries
    if fatwrite ${fat} ${scratch} ab.env 200; then
      echo "Slot ${try} is on trial, ${tries} tries left after this one."
      setenv ontrial ${try}
      setenv first ${try}
    fi
  fi
fi

# For whoever looks at the card of a dead node. Written only where it is news: a
# node that goes no further comes by here every few seconds.
setenv now "U-Boot starts slot ${first}."
setenv stage
if load ${fat} ${scratch} STAGE.TXT; then
  env import -t -r ${scratch} ${filesize} stage
  if test "${stage}" != "${now}"; then
    setenv stage "${now}"
    setenv revision "${board_revision}"
    setenv uboot "${ver}"
    mw.b ${scratch} 0 200
    env export -t -s 200 ${scratch} stage revision uboot
    fatwrite ${fat} ${scratch} STAGE.TXT 200
  fi
fi

# QEMU's machine has its console elsewhere; only its device tree says so.
setenv extra
if test -n "${fdt_addr}"; then
  fdt addr ${fdt_addr}
  fdt get value extra /chosen imagebuilder,bootargs
fi

setenv start '
  echo "Starting slot ${slot}."
  setenv bootargs
  setenv trial 0
  if test "${slot}" = "${ontrial}"; then
    setenv trial 1
  fi
  if load ${fat} ${scratch} ${slot}/cmdline.txt; then
    env import -t -r ${scratch} ${filesize} bootargs
  fi
  if test -n "${bootargs}"; then
    setenv bootargs "${bootargs} imagebuilder.bootdev=${devtype} imagebuilder.trial=${trial} ${extra}"
    if load ${fat} ${kernel_addr_r} ${slot}/vmlinuz; then
      setenv kernel_comp_size ${filesize}
      if load ${fat} ${initrd_at} ${slot}/initrd.img; then
        booti ${kernel_addr_r} ${initrd_at}:${filesize} ${fdt_addr}
      fi
    fi
  fi
  echo "Slot ${slot} cannot be started."
'

# No "for": its loop ends at a Ctrl-C, and noise on the serial line is one.
setenv slot ${first}
run start
if test "${first}" = "a"; then
  setenv slot b
else
  setenv slot a
fi
run start

echo "No slot can be started: the card was not written completely, or is worn out."
echo "Trying again in 30 seconds. Write the image to a new card."
sleep 30
reset
