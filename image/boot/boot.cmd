# Chooses the slot. The same decisions as BootState::boot in appliance/slots/src/boot_control/state.rs, in U-Boot's words;
# tests/image runs both on the same states. @RAM@ and @CONSOLE@ are filled in by the image builder from hardware/<board>/board.toml.
#
# Where things go in memory: scratch at 64 MiB, initramfs at 96, the kernel in its gzip file at 160, from where it is unpacked to 2. At 128 QEMU's
# Raspberry Pi has the device tree; the firmware of a real one has it above all of these.
setexpr kernel_at @RAM@ + 200000
setexpr m @RAM@ + 4000000
setexpr initrd_at @RAM@ + 6000000
setexpr packed_at @RAM@ + a000000

# Scratch: the magic at m, a checksum as U-Boot stores it at t (bytes t to t3) and as the boot state has it, lowest byte first, at v (v to v3), the
# copies of the boot state at c1 and c2.
setexpr t ${m} + 40
setexpr t1 ${t} + 1
setexpr t2 ${t} + 2
setexpr t3 ${t} + 3
setexpr v ${m} + 60
setexpr v1 ${v} + 1
setexpr v2 ${v} + 2
setexpr v3 ${v} + 3
setexpr c1 ${m} + 200
setexpr c2 ${m} + 400
mw.l ${m} 52494143
setexpr p ${m} + 4
mw.l ${p} 3142414e

# Builds of U-Boot differ in which byte of a checksum they store first (Debian's for QEMU the highest, for the Pi 3 the lowest): the magic's is known.
crc32 ${m} 8 ${t}
mw.l ${v} d3ca46e1
if cmp.l ${t} ${v} 1; then setenv sum 'crc32 ${a} 1fc ${t}; cp.b ${t} ${v} 4'
else setenv sum 'crc32 ${a} 1fc ${t}; cp.b ${t3} ${v} 1; cp.b ${t2} ${v1} 1; cp.b ${t1} ${v2} 1; cp.b ${t} ${v3} 1'; fi

# Whether the copy at ${a} is whole: the magic, and the checksum.
setenv check 'setenv ok 0; if cmp.l ${a} ${m} 2; then run sum; setexpr p ${a} + 1fc; if cmp.b ${v} ${p} 4; then setenv ok 1; setexpr p ${a} + 8; setexpr.l generation *${p}; fi; fi'

${devtype} dev ${devnum}
setenv first 0
setenv second 0
if ${devtype} read ${c1} @COPY1@ 1; then setenv a ${c1}; run check; if test ${ok} = 1; then setenv first 1; setenv generation1 ${generation}; fi; fi
if ${devtype} read ${c2} @COPY2@ 1; then setenv a ${c2}; run check; if test ${ok} = 1; then setenv second 1; setenv generation2 ${generation}; fi; fi

# The newer whole copy counts (the first of two equal ones); the other one is written next.
setenv a
if test ${first} = 1; then setenv a ${c1}; setenv generation ${generation1}; setenv spare @COPY2@; fi
if test ${second} = 1; then
  if test ${first} = 0; then setenv a ${c2}; setenv generation ${generation2}; setenv spare @COPY1@
  else if test 0x${generation2} -gt 0x${generation1}; then setenv a ${c2}; setenv generation ${generation2}; setenv spare @COPY1@; fi; fi
fi

setenv slot a
setenv trial 0
if test -n "${a}"; then
  setexpr p ${a} + c
  setexpr.l default *${p}
  setexpr p ${a} + 10
  setexpr.l tried *${p}
  setexpr p ${a} + 14
  setexpr.l tries *${p}
  if test 0x${default} -eq 1; then setenv slot b; setenv default 1; else setenv default 0; fi
  if test 0x${tries} -eq 1 && test 0x${tried} -le 1 && test 0x${tried} -ne 0x${default} && test 0x${generation} -ne 0xffffffff; then
    # The one try is used up before it is made.
    setexpr.l generation ${generation} + 1
    setexpr p ${a} + 8
    mw.l ${p} ${generation}
    setexpr p ${a} + 14
    mw.l ${p} 0
    run sum
    setexpr p ${a} + 1fc
    cp.b ${v} ${p} 4
    # A try that cannot be counted is not made.
    if ${devtype} write ${a} ${spare} 1; then
      setenv trial 1
      if test 0x${tried} -eq 0; then setenv slot a; else setenv slot b; fi
    fi
  fi
fi
echo "cairn: slot=${slot} trial=${trial} copies=${first}${second}"

# What stands in extra.txt on the boot partition is added to the kernel's command line: whoever holds the card may.
setenv extra
setenv cmdline
if test -e ${devtype} ${devnum}:1 extra.txt; then
  mw.l ${m} 72747865
  setexpr p ${m} + 4
  mw.w ${p} 3d61
  setexpr p ${m} + 6
  if load ${devtype} ${devnum}:1 ${p} extra.txt; then setexpr n ${filesize} + 6; env import -t ${m} ${n} extra; fi
fi

# Starts ${slot}; comes back when a file of it cannot be loaded.
setenv start 'setenv part 2; if test ${slot} = b; then setenv part 3; fi; mw.l ${m} 6c646d63; setexpr p ${m} + 4; mw.l ${p} 3d656e69; setexpr p ${m} + 8; if load ${devtype} ${devnum}:${part} ${p} cmdline.txt; then setexpr n ${filesize} + 8; env import -t ${m} ${n} cmdline; if load ${devtype} ${devnum}:${part} ${packed_at} vmlinuz; then if unzip ${packed_at} ${kernel_at}; then if load ${devtype} ${devnum}:${part} ${initrd_at} initramfs; then setenv bootargs "@CONSOLE@ ${cmdline} cairn.disk=${devtype}${devnum} cairn.slot=${slot} cairn.trial=${trial} ${extra}"; booti ${kernel_at} ${initrd_at}:${filesize} ${fdt_addr}; fi; fi; fi; fi'
run start
# The chosen slot is not whole. A trial is over with that; either way the other one is all there is.
setenv trial 0
if test ${slot} = a; then setenv slot b; else setenv slot a; fi
echo "cairn: nothing to start there; slot=${slot}"
run start
echo "cairn: no slot can be started; trying again in 10 s"
sleep 10
reset
