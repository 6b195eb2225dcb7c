// Runs Kafka's own command-line tools one after the other in one JVM: starting one costs more than most of them do.
//
//   in:  class TAB standard input, escaped TAB argument TAB argument ... LF
//   out: EXIT code bytes-of-stdout bytes-of-stderr LF, then the bytes
import java.io.*;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.common.utils.Exit;

public class Driver {
    /** Unwinds a tool that wants to end the process. */
    static final class Ended extends Error {
        Ended() { super("the tool has ended", null, false, false); }
    }

    static Integer code;
    static final List<Runnable> hooks = new ArrayList<>();

    public static void main(String[] none) throws Exception {
        PrintStream answers = System.out;
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Exit.Procedure end = (status, message) -> {
            if (message != null) System.err.println(message);
            // A tool that catches everything asks a second time; its first word counts.
            if (code == null) code = status;
            throw new Ended();
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        // Some tools report when the JVM goes down. It does not, so their hooks run when they are done.
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            ByteArrayOutputStream out = new ByteArrayOutputStream(), err = new ByteArrayOutputStream();
            run(line.split("\t", -1), new PrintStream(out, true), new PrintStream(err, true));
            answers.println("EXIT " + code + " " + out.size() + " " + err.size());
            out.writeTo(answers);
            err.writeTo(answers);
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    static void run(String[] words, PrintStream out, PrintStream err) {
        code = null;
        hooks.clear();
        System.setIn(new ByteArrayInputStream(unescaped(words[1]).getBytes(StandardCharsets.UTF_8)));
        System.setOut(out);
        System.setErr(err);
        try {
            String[] args = Arrays.copyOfRange(words, 2, words.length);
            Class.forName(words[0]).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof Ended)) fail(thrown.getCause());
        } catch (Throwable thrown) {
            fail(thrown);
        }
        if (code == null) code = 0;
        for (Runnable hook : hooks) {
            try {
                hook.run();
            } catch (Throwable thrown) {
                if (!(thrown instanceof Ended)) fail(thrown);
            }
        }
        System.out.flush();
        System.err.flush();
    }

    static void fail(Throwable thrown) {
        thrown.printStackTrace(System.err);
        code = 1;
    }

    static String unescaped(String text) {
        return text.replace("\\n", "\n").replace("\\t", "\t");
    }
}
