// Records Kafka's tables of error codes and requests, which are in its classes and not in its schema files.
//
//     java -cp 'KAFKA/libs/*' protocol/import/Tables.java > protocol/tests/golden/tables-4.3.1.txt
//
// Out: lines "error CODE NAME RETRIABLE" and
// "api KEY NAME OLDEST NEWEST NEWEST_STABLE LISTENERS HEADERS", where HEADERS is "REQUEST/RESPONSE" for each version, oldest first.

import java.util.List;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.Errors;

public class Tables {
    public static void main(String[] args) {
        StringBuilder out = new StringBuilder();
        for (Errors e : Errors.values()) {
            boolean retriable = e.exception() instanceof RetriableException;
            out.append("error ").append(e.code()).append(' ').append(e.name()).append(' ').append(retriable).append('\n');
        }
        for (ApiMessageType t : ApiMessageType.values()) {
            short first = t.lowestSupportedVersion(), last = t.highestSupportedVersion(true);
            List<String> listeners = t.listeners().stream().map(l -> l.name().toLowerCase()).sorted().toList();
            out.append("api ").append(t.apiKey()).append(' ').append(t.name).append(' ').append(first).append(' ').append(last)
                .append(' ').append(t.highestSupportedVersion(false)).append(' ')
                .append(listeners.isEmpty() ? "-" : String.join(",", listeners)).append(' ');
            for (short v = first; v <= last; v++) {
                out.append(v == first ? "" : ",").append(t.requestHeaderVersion(v)).append('/').append(t.responseHeaderVersion(v));
            }
            out.append(first > last ? "-\n" : "\n");
        }
        System.out.print(out);
    }
}
