//! A kernel of a few instructions: it says on its console with which command line it was started, as the fake guest
//! does, and then stands still or turns the machine off.

/// Above the first megabyte, where Firecracker loads kernels.
const ADDRESS: u64 = 0x100_0000;
/// Where its one segment is in the file.
const OFFSET: usize = 0x1000;
/// What it says before the command line.
const GREETING: &str = "fake guest: ";

/// What it does after it has spoken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    Stands,
    TurnsOff,
}

/// The kernel's file: ELF for x86-64 with one segment.
pub(crate) fn elf(then: Then) -> Vec<u8> {
    let code = code(then);
    let length = (code.len() as u64).to_le_bytes();
    let address = ADDRESS.to_le_bytes();
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01");
    file.resize(16, 0);
    // An executable for x86-64, its entry, and where the one program header is.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    file.extend(address);
    file.extend(64_u64.to_le_bytes());
    file.extend([0; 12]);
    file.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // The segment: loaded, readable and executable.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    file.extend((OFFSET as u64).to_le_bytes());
    file.extend([address, address, length, length, 0x1000_u64.to_le_bytes()].concat());
    file.resize(OFFSET, 0);
    file.extend(code);
    file
}

fn code(then: Then) -> Vec<u8> {
    let mut code = Vec::new();
    // mov dx, 0x3f8: the first serial port
    code.extend([0x66, 0xba, 0xf8, 0x03]);
    for byte in GREETING.bytes() {
        // mov al, byte; out dx, al
        code.extend([0xb0, byte, 0xee]);
    }
    // mov esi, [rsi + 0x228]: `cmd_line_ptr` of the `boot_params` that rsi points to when a kernel is entered
    // (Documentation/arch/x86/boot.rst)
    code.extend([0x8b, 0xb6, 0x28, 0x02, 0x00, 0x00]);
    // next: lodsb; test al, al; jz end; out dx, al; jmp next
    code.extend([0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8]);
    // end: mov al, '\n'; out dx, al
    code.extend([0xb0, b'\n', 0xee]);
    if let Then::TurnsOff = then {
        // mov al, 0xfe; out 0x64, al: the keyboard controller resets the processor, which Firecracker ends at.
        code.extend([0xb0, 0xfe, 0xe6, 0x64]);
    }
    // hlt, again and again
    code.extend([0xf4, 0xeb, 0xfd]);
    code
}
