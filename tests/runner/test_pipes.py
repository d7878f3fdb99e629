import os
import subprocess
import sys
import threading

from edgellm.runner.pipes import write_all


def test_all_is_written_however_little_a_pipe_takes_at_once():
    data = os.urandom(1 << 18)
    reader_fd, writer_fd = os.pipe()
    came = bytearray()

    def read():
        while part := os.read(reader_fd, 1 << 12):
            came.extend(part)

    reading = threading.Thread(target=read)
    reading.start()
    write_all(writer_fd, data)
    os.close(writer_fd)
    reading.join()
    os.close(reader_fd)
    assert came == data


def test_what_a_library_prints_is_not_taken_for_an_answer():
    program = (
        "import os; from edgellm.runner.pipes import own_stdout, write_all; fd = own_stdout();"
        "os.write(1, b'GPU found'); write_all(fd, b'answer')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"answer", b"GPU found")
